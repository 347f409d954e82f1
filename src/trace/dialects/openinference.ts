import type { Call, Damage } from "../call.ts";
import { callPart, canonicalTools, responsePart } from "../canonical.ts";
import { isRecord, jsonOf, payloadOf } from "../json.ts";
import type { Message, Part, ToolDefinition } from "../message.ts";
import type { Attributes } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";
import { numberAt, present, readScalars, textAt, type ScalarTable } from "./fields.ts";
import { unflatten } from "./flattened.ts";
import { messageOfItems } from "./responses-items.ts";
import { unglueCalls } from "./glued-calls.ts";

const KIND: Readonly<Record<string, Call["kind"]>> = { LLM: "inference", TOOL: "tool" };

const SCALARS: ScalarTable = [
  { field: "provider", keys: ["llm.provider", "llm.system"] },
  { field: "responseModel", keys: ["llm.response.model_name", "llm.model_name"] },
  { field: "toolName", keys: ["tool.name"] },
  { field: "toolCallId", keys: ["tool.id", "tool_call.id"] },
  { field: "agentName", keys: ["agent.name"] },
  { field: "conversationKey", keys: ["session.id"] },
  { field: "subject", keys: ["user.id"] },
];

/** OpenInference: messages spread over indexed attributes, tools as JSON schemas, parameters as one JSON string. */
export const openinference: Dialect = {
  name: "openinference",
  read(span) {
    const spanKind = span.attributes["openinference.span.kind"];
    if (typeof spanKind !== "string") return null;
    const kind = KIND[spanKind] ?? "structure";
    const damage = new Set<Damage>();
    const reading: Reading = { kind, ...readScalars(span.attributes, SCALARS) };
    if (kind === "tool") Object.assign(reading, readTool(span.attributes));
    if (kind === "inference") Object.assign(reading, readInference(span.attributes, damage));
    return { ...reading, damage: [...damage] };
  },
};

function readInference(attributes: Attributes, damage: Set<Damage>): Reading {
  const list = (prefix: string): Record<string, unknown>[] => {
    const { items, overBudget } = unflatten(attributes, prefix);
    if (overBudget) damage.add("dropped_attributes");
    return items;
  };
  const tools = list("llm.tools").flatMap((item) => (isRecord(item["tool"]) ? canonicalTools(item["tool"]["json_schema"]) : []));
  const input = list("llm.input_messages").flatMap((item) => messageOf(item, []));
  const told = list("llm.output_messages").flatMap((item) => messageOf(item, tools));
  // The OpenAI Agents SDK hands a streamed answer over as one of the Responses API, which its instrumentation does not flatten.
  const output = told.length > 0 ? told : messageOfItems(answerOf(attributes)?.["output"]);
  const finish = textAt(attributes, "llm.finish_reason") ?? finishReasonOf(attributes);
  return {
    ...readParameters(attributes, damage),
    ...(input.length > 0 ? { input } : {}),
    ...(output.length > 0 ? { output } : {}),
    ...(tools.length > 0 ? { tools } : {}),
    ...(finish === undefined ? {} : { finishReasons: [finish] }),
    ...responseIdOf(attributes),
  };
}

function messageOf(item: Record<string, unknown>, tools: readonly ToolDefinition[]): Message[] {
  const message = item["message"];
  if (!isRecord(message)) return [];
  const role = typeof message["role"] === "string" ? message["role"] : "assistant";
  const parts = [...contentParts(message), ...callParts(message, tools)];
  if (role !== "tool") return [{ role, parts }];
  const content = parts.map((part) => (part.type === "text" ? part["content"] : "")).join("");
  return [{ role, parts: [responsePart(message["tool_call_id"], content)] }];
}

function contentParts(message: Record<string, unknown>): Part[] {
  const { content } = message;
  if (typeof content === "string" && content !== "") return [{ type: "text", content }];
  const contents = Array.isArray(message["contents"]) ? message["contents"] : [];
  return contents.flatMap((entry: unknown): Part[] => {
    const part = isRecord(entry) ? entry["message_content"] : undefined;
    if (!isRecord(part)) return [];
    if (part["type"] === "text" || part["type"] === "reasoning")
      return [{ type: part["type"], content: typeof part["text"] === "string" ? part["text"] : "" }];
    return [{ ...part, type: typeof part["type"] === "string" ? part["type"] : "unknown" }];
  });
}

function callParts(message: Record<string, unknown>, tools: readonly ToolDefinition[]): Part[] {
  const calls = Array.isArray(message["tool_calls"]) ? message["tool_calls"] : [];
  return calls.flatMap((entry: unknown): Part[] => {
    const call = isRecord(entry) ? entry["tool_call"] : undefined;
    if (!isRecord(call)) return [];
    const target = isRecord(call["function"]) ? call["function"] : {};
    const parts = unglueCalls({ id: call["id"], name: target["name"], arguments: target["arguments"] }, tools);
    return parts.map((part) => callPart(part.id, part.name, part.arguments));
  });
}

function readParameters(attributes: Attributes, damage: Set<Damage>): Reading {
  const usage = present({
    inputTokens: numberAt(attributes, "llm.token_count.prompt"),
    outputTokens: numberAt(attributes, "llm.token_count.completion"),
  });
  const { value, broken } = jsonOf(attributes["llm.invocation_parameters"]);
  if (broken) damage.add("truncated_json");
  const parameters = (isRecord(value) ? value : {}) as Attributes;
  const sampling = present({
    temperature: numberAt(parameters, "temperature"),
    topP: numberAt(parameters, "top_p"),
    maxTokens: numberAt(parameters, "max_completion_tokens", "max_tokens"),
    seed: numberAt(parameters, "seed"),
  });
  // `llm.model_name` is the model that answered: the instrumentation overwrites the requested name with it.
  const requestModel = textAt(attributes, "llm.request.model_name") ?? textAt(parameters, "model") ?? textAt(attributes, "llm.model_name");
  return { ...(usage && { usage }), ...(sampling && { sampling }), ...(requestModel === undefined ? {} : { requestModel }) };
}

/** The raw answer is in `output.value` where the instrumentation keeps it; the response id is nowhere else. */
function responseIdOf(attributes: Attributes): Reading {
  const answer = answerOf(attributes);
  const id = answer?.["id"] === FAKE_ID ? providersId(answer["output"]) : answer?.["id"];
  return typeof id === "string" && id !== "" ? { responseId: id } : {};
}

/** What the OpenAI Agents SDK calls every streamed answer that has no id of the Responses API. */
const FAKE_ID = "__fake_id__";

function providersId(items: unknown): unknown {
  const [first] = Array.isArray(items) ? (items as unknown[]) : [];
  const data = isRecord(first) ? first["provider_data"] : undefined;
  return isRecord(data) ? data["response_id"] : undefined;
}

function finishReasonOf(attributes: Attributes): string | undefined {
  const choices = answerOf(attributes)?.["choices"];
  const first: unknown = Array.isArray(choices) ? choices[0] : undefined;
  return isRecord(first) && typeof first["finish_reason"] === "string" ? first["finish_reason"] : undefined;
}

function answerOf(attributes: Attributes): Record<string, unknown> | undefined {
  if (attributes["output.mime_type"] !== "application/json") return undefined;
  const { value } = jsonOf(attributes["output.value"]);
  // The agents' instrumentation keeps a list of the answers to one call: of one.
  const answer: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value;
  return isRecord(answer) ? answer : undefined;
}

/** `tool.parameters` is the schema by the specification and the arguments in Agno: only `input.value` is taken for the arguments. */
function readTool(attributes: Attributes): Reading {
  const args = attributes["input.value"];
  const result = attributes["output.value"];
  return {
    ...(args === undefined ? {} : { arguments: payloadOf(jsonOf(args).value) }),
    ...(result === undefined ? {} : { result: payloadOf(jsonOf(result).value) }),
  };
}
