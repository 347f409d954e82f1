import { OPENAI_CHAT } from "../../serving/gateway/openai-chat.ts";
import { OPENAI_RESPONSES } from "../../serving/gateway/openai-responses.ts";
import type { LiveAnswer } from "../../serving/gateway/live-api.ts";
import { isRecord, payloadOf } from "../../trace/json.ts";
import type { Message, ToolDefinition } from "../../trace/message.ts";
import { canonicalJson } from "../../trajectory/canonical-arguments.ts";
import { hashedId, requestsOf, type AttributeValues, type Requests } from "./span.ts";
import { invalid, pick, pickNumber, pickObject, pickText, timeOf } from "./values.ts";

/** One model call: what was asked and what was answered. */
interface Exchange {
  request: Record<string, unknown>;
  input: readonly Message[];
  tools: readonly ToolDefinition[] | null;
  answer: LiveAnswer | null;
}

const CONVERSATION_FIELDS = ["conversation_id", "session_id", "thread_id"];
const USER_FIELDS = ["user_id", "user", "safety_identifier"];

/** Whether a record is one of OpenAI's: a line of a fine-tuning file, a completion with its messages, or a request with its response. */
export function isOpenai(record: Readonly<Record<string, unknown>>): boolean {
  return Array.isArray(record["messages"]) || (isRecord(record["response"]) && requestIn(record) !== null);
}

/**
 * One record as one span of its own trace. In a line of a fine-tuning file the last message is the answer and everything before it what was asked, earlier answers included: that is
 * how the last call of a conversation looks on the wire.
 * @param defaultMs the time of what has none
 * @throws BadRecord
 */
export function convertOpenai(record: Record<string, unknown>, { defaultMs }: { defaultMs: number }): Requests {
  const exchange = exchangeOf(record);
  const metadata = { ...pickObject(exchange.request, "metadata"), ...pickObject(record, "metadata") };
  const at = timeOf(pick(record, "created", "created_at", "timestamp") ?? answeredAt(record), "the time") ?? BigInt(defaultMs) * 1_000_000n;
  const traceId = hashedId(16, "openai", canonicalJson(record));
  const named = (fields: readonly string[]) =>
    pickText(record, ...fields) ?? pickText(exchange.request, ...fields) ?? pickText(metadata, ...fields);
  const model = pickText(exchange.request, "model") ?? pickText(record, "model");
  return requestsOf([
    {
      traceId,
      spanId: hashedId(8, traceId),
      name: `chat ${model ?? ""}`.trim(),
      startNs: at,
      endNs: at,
      attributes: {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.conversation.id": named(CONVERSATION_FIELDS),
        "user.id": named(USER_FIELDS),
        ...contentOf(exchange),
        ...answerAttributes(exchange.answer),
        ...samplingOf(exchange.request),
      },
    },
  ]);
}

function exchangeOf(record: Record<string, unknown>): Exchange {
  const response = responseIn(record);
  const request = requestIn(record) ?? record;
  if (response === null) return lineOf(record);
  const api = response["object"] === "response" || request["messages"] === undefined ? OPENAI_RESPONSES : OPENAI_CHAT;
  if (api === OPENAI_CHAT) requireMessages(request["messages"]);
  return { request, ...api.readRequest(request), answer: api.readAnswer(response) };
}

function lineOf(record: Record<string, unknown>): Exchange {
  const messages = requireMessages(record["messages"]).map(modernised);
  const last = messages.at(-1);
  const isAnswered = last?.["role"] === "assistant";
  const tools = record["tools"] ?? record["functions"];
  const read = (list: readonly unknown[]) => OPENAI_CHAT.readRequest({ messages: list, tools: payloadOf(tools) });
  return {
    request: record,
    ...read(isAnswered ? messages.slice(0, -1) : messages),
    answer: isAnswered ? { output: read([last]).input, finishReasons: [], usage: {} } : null,
  };
}

function requireMessages(value: unknown): Record<string, unknown>[] {
  if (!Array.isArray(value) || value.length === 0) throw invalid("messages is no list of messages", value);
  return value.map((message: unknown, index) => {
    if (!isRecord(message)) throw invalid(`messages[${index}] is no message`, message);
    if (typeof message["role"] !== "string") throw invalid(`messages[${index}].role is no text`, message["role"]);
    return message;
  });
}

/** Files from before tool calls had ids: one `function_call` per answer, its result in a message of role `function`. */
function modernised(message: Record<string, unknown>): Record<string, unknown> {
  if (message["role"] === "function") return { ...message, role: "tool" };
  const call = message["function_call"];
  return isRecord(call) && message["tool_calls"] === undefined
    ? { ...message, tool_calls: [{ type: "function", function: call }] }
    : message;
}

/** The request of a pair: under its own name, or as a line of a batch file has it. */
function requestIn(record: Readonly<Record<string, unknown>>): Record<string, unknown> | null {
  for (const name of ["request", "body"]) {
    const outer = record[name];
    if (!isRecord(outer)) continue;
    const request = isRecord(outer["body"]) ? outer["body"] : outer;
    if (request["messages"] !== undefined || request["input"] !== undefined) return request;
  }
  return null;
}

/** The answer of a pair, or the record itself where it is a stored completion with its messages. */
function responseIn(record: Record<string, unknown>): Record<string, unknown> | null {
  const response = record["response"];
  if (isRecord(response)) return isRecord(response["body"]) ? response["body"] : response;
  return record["object"] === "chat.completion" && Array.isArray(record["choices"]) ? record : null;
}

function answeredAt(record: Record<string, unknown>): unknown {
  const response = responseIn(record);
  return response === null ? undefined : pick(response, "created", "created_at");
}

function contentOf({ input, tools, answer }: Exchange): AttributeValues {
  return {
    "gen_ai.input.messages": JSON.stringify(input),
    "gen_ai.output.messages": answer === null || answer.output.length === 0 ? undefined : JSON.stringify(answer.output),
    "gen_ai.tool.definitions": toolsText(tools),
  };
}

/** As the GenAI conventions have them. */
export function toolsText(tools: readonly ToolDefinition[] | null): string | undefined {
  return tools === null ? undefined : JSON.stringify(tools.map((tool) => ({ type: "function", ...tool })));
}

function answerAttributes(answer: LiveAnswer | null): AttributeValues {
  if (answer === null) return {};
  return {
    "gen_ai.response.id": answer.id,
    "gen_ai.response.model": answer.model,
    "gen_ai.response.finish_reasons": answer.finishReasons.length === 0 ? undefined : answer.finishReasons,
    "gen_ai.usage.input_tokens": answer.usage.inputTokens,
    "gen_ai.usage.output_tokens": answer.usage.outputTokens,
  };
}

/** The sampling parameters of a request, by OpenAI's names. */
export function samplingOf(request: Readonly<Record<string, unknown>>): AttributeValues {
  return {
    "gen_ai.request.temperature": pickNumber(request, "temperature"),
    "gen_ai.request.top_p": pickNumber(request, "top_p", "topP"),
    "gen_ai.request.max_tokens": pickNumber(request, "max_completion_tokens", "max_output_tokens", "max_tokens", "maxTokens"),
    "gen_ai.request.seed": pickNumber(request, "seed"),
  };
}
