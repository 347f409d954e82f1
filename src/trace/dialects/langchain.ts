import { canonicalMessages } from "../canonical.ts";
import { isRecord, jsonOf, payloadOf } from "../json.ts";
import type { Message } from "../message.ts";
import type { Attributes, Span } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";

/** The classes of LangChain's messages; a streamed one ends in `Chunk`. */
const ROLE: Readonly<Record<string, string>> = {
  SystemMessage: "system",
  HumanMessage: "user",
  AIMessage: "assistant",
  ToolMessage: "tool",
};

/** Where OpenInference and LangSmith put LangChain's own objects. */
const INPUTS = ["input.value", "gen_ai.prompt"];
const OUTPUTS = ["output.value", "gen_ai.completion"];

/**
 * LangChain's own objects, `{lc, type: "constructor", id: [… class], kwargs}`, as tracers record them whole. OpenInference's flattened messages beside them lack the ids
 * of calls and any content that is a list, a system prompt's above all.
 */
export const langchain: Dialect = {
  name: "langchain",
  read(span) {
    const kind = span.attributes["openinference.span.kind"] ?? span.attributes["langsmith.span.kind"];
    if (kind === "LLM" || kind === "llm") return readInference(span.attributes);
    return kind === "TOOL" || kind === "tool" ? readTool(span) : null;
  },
};

function readInference(attributes: Attributes): Reading | null {
  const [prompt] = listOf(objectAt(attributes, INPUTS)?.["messages"]);
  const input = listOf(prompt).flatMap((message) => messageOf(message));
  if (input.length === 0) return null;
  const [generations] = listOf(objectAt(attributes, OUTPUTS)?.["generations"]);
  const answers = listOf(generations).filter(isRecord);
  const output = answers.flatMap((answer) => messageOf(answer["message"])).filter((message) => message.parts.length > 0);
  const [first] = answers;
  const info = isRecord(first?.["generationInfo"]) ? first["generationInfo"] : {};
  const id = fieldsOf(first?.["message"])?.["id"];
  return {
    kind: "inference",
    input,
    ...(output.length > 0 ? { output } : {}),
    // LangChain gives an answer without an id one of its own.
    ...(typeof id === "string" && id !== "" && !/^(?:lc_)?run-/.test(id) ? { responseId: id } : {}),
    ...(typeof info["model_name"] === "string" ? { responseModel: info["model_name"] } : {}),
    ...(typeof info["finish_reason"] === "string" ? { finishReasons: [info["finish_reason"]] } : {}),
  };
}

/** A tool's message names the call that it answers. The arguments came as the bare value of the only one, without its name: not known. */
function readTool(span: Span): Reading | null {
  const output = objectAt(span.attributes, OUTPUTS)?.["output"];
  const fields = fieldsOf(output);
  const isOurs = fields !== undefined || /langchain/.test(span.scope.name);
  if (!isOurs) return null;
  const isBare = span.attributes["input.mime_type"] === "text/plain";
  const callId = fields?.["tool_call_id"];
  return {
    kind: "tool",
    ...(isBare ? { arguments: null } : {}),
    ...(typeof callId === "string" && callId !== "" ? { toolCallId: callId } : {}),
    ...(fields === undefined ? {} : { result: payloadOf(fields["content"]) }),
  };
}

function messageOf(value: unknown): Message[] {
  const fields = fieldsOf(value);
  const role = fields?.["role"];
  if (fields === undefined || typeof role !== "string") return [];
  const { content, tool_call_id: callId } = fields;
  const calls = listOf(fields["tool_calls"]).filter(isRecord);
  const said = calls.length === 0 ? content : withoutCalls(content);
  const asked = calls.map((call) => ({ id: call["id"], name: call["name"], arguments: call["args"] }));
  return canonicalMessages({ role, content: said, tool_calls: asked, tool_call_id: callId, name: fields["name"] });
}

/** Anthropic's content lists the calls that LangChain has in `tool_calls` as well. */
function withoutCalls(content: unknown): unknown {
  return Array.isArray(content) ? content.filter((block) => !isRecord(block) || !String(block["type"]).startsWith("tool_")) : content;
}

/** The fields of one of LangChain's messages, with its role; undefined for anything else. */
function fieldsOf(value: unknown): Record<string, unknown> | undefined {
  if (!isRecord(value) || value["type"] !== "constructor" || !isRecord(value["kwargs"])) return undefined;
  const name = String(listOf(value["id"]).at(-1)).replace(/Chunk$/, "");
  return Object.hasOwn(ROLE, name) ? { ...value["kwargs"], role: ROLE[name] } : undefined;
}

function objectAt(attributes: Attributes, keys: readonly string[]): Record<string, unknown> | undefined {
  return keys.map((key) => jsonOf(attributes[key]).value).find(isRecord);
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
