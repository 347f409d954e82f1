import type { Call, Damage } from "../call.ts";
import { canonicalMessage, canonicalMessages, canonicalTools } from "../canonical.ts";
import { isRecord, jsonOf, payloadOf } from "../json.ts";
import type { Message, ToolDefinition } from "../message.ts";
import type { Attributes } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";
import { numberAt, present, readScalars, type ScalarTable } from "./fields.ts";
import { unglueCalls } from "./glued-calls.ts";
import { beforeOwnAnswer } from "./own-answer.ts";

const KIND: Readonly<Record<string, Call["kind"]>> = { llm: "inference", tool: "tool" };

const SCALARS: ScalarTable = [
  { field: "provider", keys: ["langsmith.metadata.ls_provider"] },
  {
    field: "conversationKey",
    keys: ["langsmith.metadata.session_id", "langsmith.metadata.thread_id", "langsmith.metadata.conversation_id"],
  },
  { field: "subject", keys: ["langsmith.metadata.user_id"] },
];

/** LangSmith's exporter: the whole request and the whole answer, as JSON of the client's own form, in `gen_ai.prompt` and `gen_ai.completion`. */
export const langsmith: Dialect = {
  name: "langsmith",
  read(span) {
    const runType = span.attributes["langsmith.span.kind"];
    if (typeof runType !== "string") return null;
    const kind = (Object.hasOwn(KIND, runType) ? KIND[runType] : undefined) ?? "structure";
    const damage = new Set<Damage>();
    const reading: Reading = { kind, ...readScalars(span.attributes, SCALARS) };
    if (kind === "tool") Object.assign(reading, readTool(span.attributes));
    if (kind === "inference") Object.assign(reading, readInference(span.attributes, damage));
    return { ...reading, damage: [...damage] };
  },
};

function readInference(attributes: Attributes, damage: Set<Damage>): Reading {
  const read = (key: string): Record<string, unknown> => {
    const { value, broken } = jsonOf(attributes[key]);
    if (broken) damage.add("truncated_json");
    return isRecord(value) ? value : {};
  };
  const request = read("gen_ai.prompt");
  const tools = request["tools"] === undefined ? [] : canonicalTools(request["tools"]);
  const output = answersOf(read("gen_ai.completion"), tools);
  const input = beforeOwnAnswer(canonicalMessages(request["messages"] ?? []), output);
  const sampling = present({
    temperature: numberAt(request as Attributes, "temperature"),
    topP: numberAt(request as Attributes, "top_p"),
    maxTokens: numberAt(request as Attributes, "max_completion_tokens", "max_tokens"),
    seed: numberAt(request as Attributes, "seed"),
  });
  return {
    ...(input.length > 0 ? { input } : {}),
    ...(output.length > 0 ? { output } : {}),
    ...(tools.length > 0 ? { tools } : {}),
    ...(sampling && { sampling }),
  };
}

/** A chat completion, or one message with nothing around it. */
function answersOf(completion: Record<string, unknown>, tools: readonly ToolDefinition[]): Message[] {
  const choices: unknown = completion["choices"];
  const messages = Array.isArray(choices)
    ? choices.map((choice: unknown) => (isRecord(choice) ? choice["message"] : undefined))
    : [completion];
  return messages
    .filter((message) => isRecord(message) && ("content" in message || "tool_calls" in message))
    .map((message) => answerOf(message as Record<string, unknown>, tools));
}

/** Of parallel calls in a stream LangSmith keeps the first id and index, with the names and the arguments of all in a row. */
function answerOf(message: Record<string, unknown>, tools: readonly ToolDefinition[]): Message {
  const calls = Array.isArray(message["tool_calls"]) ? message["tool_calls"].filter(isRecord) : [];
  const apart = calls.flatMap((call) => {
    const target = isRecord(call["function"]) ? call["function"] : call;
    return unglueCalls({ id: call["id"], name: target["name"], arguments: target["arguments"] }, tools, "first");
  });
  return canonicalMessage({ ...message, role: "assistant", tool_calls: apart });
}

/** A result that is no object comes inside `{outputs}`. */
function readTool(attributes: Attributes): Reading {
  const args = attributes["gen_ai.prompt"];
  const result = attributes["gen_ai.completion"];
  const answer = jsonOf(result).value;
  const wrapped = isRecord(answer) && Object.keys(answer).join(",") === "outputs";
  return {
    ...(args === undefined ? {} : { arguments: payloadOf(jsonOf(args).value) }),
    ...(result === undefined ? {} : { result: payloadOf(wrapped ? answer["outputs"] : answer) }),
  };
}
