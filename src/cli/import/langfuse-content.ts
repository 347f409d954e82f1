import { OPENAI_CHAT } from "../../serving/gateway/openai-chat.ts";
import { OPENAI_RESPONSES } from "../../serving/gateway/openai-responses.ts";
import { canonicalMessages, canonicalTools } from "../../trace/canonical.ts";
import { isRecord, payloadOf } from "../../trace/json.ts";
import type { Message, ToolDefinition } from "../../trace/message.ts";
import { toolsText } from "./openai.ts";
import type { AttributeValues } from "./span.ts";
import { invalid, pick, pickObject, pickText } from "./values.ts";

type Row = Readonly<Record<string, unknown>>;

/**
 * Input and output of an observation: whatever its SDK handed over, as a value or as a string of JSON. @throws BadRecord for a generation that was exported
 * without both
 */
export function contentOf(type: string, row: Row): AttributeValues {
  const input = payloadOf(row["input"]);
  const output = payloadOf(row["output"]);
  if (type === "TOOL") return toolContent(row, input, output);
  if (type !== "GENERATION") return {};
  if (!("input" in row) && !("output" in row)) {
    throw invalid("the generation has neither input nor output: export it with its `io` fields", row);
  }
  const asked = messagesOf(input, "user");
  const answered = answerOf(output);
  return {
    "gen_ai.input.messages": JSON.stringify(asked),
    "gen_ai.output.messages": answered.length === 0 ? undefined : JSON.stringify(answered),
    "gen_ai.tool.definitions": toolsText(toolsOf(row, input)),
  };
}

function toolContent(row: Row, input: unknown, output: unknown): AttributeValues {
  const id = isRecord(output) ? pickText(output, "tool_call_id", "toolCallId") : undefined;
  const result = isRecord(output) && id !== undefined && "content" in output ? output["content"] : output;
  return {
    "gen_ai.tool.name": pickText(row, "name"),
    "gen_ai.tool.call.id": id ?? (isRecord(input) ? pickText(input, "tool_call_id", "toolCallId") : undefined),
    "gen_ai.tool.call.arguments": textOf(input),
    "gen_ai.tool.call.result": textOf(result),
  };
}

/** An answer: a message, several, a whole completion, a response of the Responses API, or plain text. */
function answerOf(output: unknown): readonly Message[] {
  if (!isRecord(output)) return messagesOf(output, "assistant");
  if (Array.isArray(output["choices"])) return OPENAI_CHAT.readAnswer(output).output;
  if (Array.isArray(output["output"])) return OPENAI_RESPONSES.readAnswer(output).output;
  return messagesOf(output["role"] === undefined && !("messages" in output) ? { ...output, role: "assistant" } : output, "assistant");
}

function messagesOf(value: unknown, role: "user" | "assistant"): readonly Message[] {
  if (value === undefined || value === null || value === "") return [];
  if (isRecord(value) && Array.isArray(value["messages"])) return messagesOf(value["messages"], role);
  if (isRecord(value) && value["input"] !== undefined && value["role"] === undefined) return OPENAI_RESPONSES.readRequest(value).input;
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (!list.every(isMessage)) return [{ role, parts: [{ type: "text", content: textOf(value) ?? "" }] }];
  if (list.some((item) => Array.isArray(item["parts"]))) return canonicalMessages(list);
  if (list.some((item) => item["role"] === undefined)) return OPENAI_RESPONSES.readRequest({ input: list }).input;
  return OPENAI_CHAT.readRequest({ messages: list }).input;
}

/** A message of the chat API, or an item of the Responses API. */
function isMessage(item: unknown): item is Record<string, unknown> {
  if (!isRecord(item)) return false;
  if (typeof item["role"] === "string") return ["content", "parts", "tool_calls"].some((field) => field in item);
  return typeof item["type"] === "string" && /^(?:message|reasoning|function_call(?:_output)?)$/.test(item["type"]);
}

/** Tools beside the messages, among the parameters of the model, or as Langfuse has collected them: by name, each a string of JSON. */
function toolsOf(row: Row, input: unknown): readonly ToolDefinition[] | null {
  const beside = isRecord(input) ? input["tools"] : undefined;
  const listed = payloadOf(beside ?? pickObject(row, "modelParameters", "model_parameters")["tools"]);
  if (Array.isArray(listed) && listed.length > 0) return canonicalTools(listed);
  const collected = Object.entries(pickObject({ tools: pick(row, "toolDefinitions", "tool_definitions") }, "tools"));
  if (collected.length === 0) return null;
  return collected.flatMap(([name, value]) => {
    const definition = payloadOf(value);
    return canonicalTools([isRecord(definition) ? { name, ...definition } : { name }]);
  });
}

function textOf(value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : typeof value === "string" ? value : JSON.stringify(value);
}
