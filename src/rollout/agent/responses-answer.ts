import { pieces, type ChatAnswer } from "./chat-answer.ts";

/** What a response says again of its request. */
export type ResponsesBody = Readonly<Record<string, unknown>>;

interface TextItem {
  id: string;
  type: "message";
  role: "assistant";
  status: string;
  content: { type: "output_text"; text: string; annotations: never[]; logprobs: never[] }[];
}
interface CallItem {
  id: string;
  type: "function_call";
  status: string;
  call_id: string;
  name: string;
  arguments: string;
}

/** The body of an OpenAI response: the text that was said as a message, then one item per function call. Pure. */
export function responseOf(answer: ChatAnswer, asked: ResponsesBody): Record<string, unknown> {
  const isWhole = answer.finishReason !== "length";
  return {
    ...headOf(answer, asked),
    status: isWhole ? "completed" : "incomplete",
    incomplete_details: isWhole ? null : { reason: "max_output_tokens" },
    output: itemsOf(answer),
    usage: usageOf(answer),
  };
}

/** The same as server-sent events, in the order in which OpenAI sends them; the last one carries the whole response. Pure. */
export function eventsOf(answer: ChatAnswer, asked: ResponsesBody): string[] {
  const response = responseOf(answer, asked);
  const begun = { ...headOf(answer, asked), status: "in_progress", incomplete_details: null, output: [], usage: null };
  const events: Record<string, unknown>[] = [
    { type: "response.created", response: begun },
    { type: "response.in_progress", response: begun },
    ...itemsOf(answer).flatMap((item, place) => (item.type === "message" ? textEvents(item, place) : callEvents(item, place))),
    { type: `response.${String(response["status"])}`, response },
  ];
  return events.map((event, at) => `event: ${String(event["type"])}\ndata: ${JSON.stringify({ ...event, sequence_number: at })}\n\n`);
}

function itemsOf({ id, message, finishReason }: ChatAnswer): (TextItem | CallItem)[] {
  const calls = message.tool_calls ?? [];
  const text = message.content ?? "";
  const status = finishReason === "length" ? "incomplete" : "completed";
  const said: TextItem = {
    id: `msg_${id}`,
    ...{ type: "message", role: "assistant", status },
    content: [{ type: "output_text", text, annotations: [], logprobs: [] }],
  };
  return [
    // An answer that is empty stays a turn: the next request must carry it.
    ...(text === "" && calls.length > 0 ? [] : [said]),
    ...calls.map(({ id: callId, function: { name, arguments: args } }): CallItem => ({
      id: `fc_${id}_${callId}`,
      ...{ type: "function_call", status, call_id: callId, name, arguments: args },
    })),
  ];
}

function textEvents(item: TextItem, place: number): Record<string, unknown>[] {
  const at = { item_id: item.id, output_index: place, content_index: 0 };
  const [part] = item.content;
  const text = part?.text ?? "";
  return [
    { type: "response.output_item.added", output_index: place, item: { ...item, status: "in_progress", content: [] } },
    { type: "response.content_part.added", ...at, part: { ...part, text: "" } },
    ...pieces(text).map((delta) => ({ type: "response.output_text.delta", ...at, delta, logprobs: [] })),
    { type: "response.output_text.done", ...at, text, logprobs: [] },
    { type: "response.content_part.done", ...at, part },
    { type: "response.output_item.done", output_index: place, item },
  ];
}

function callEvents(item: CallItem, place: number): Record<string, unknown>[] {
  const at = { item_id: item.id, output_index: place };
  return [
    { type: "response.output_item.added", output_index: place, item: { ...item, status: "in_progress", arguments: "" } },
    ...pieces(item.arguments).map((delta) => ({ type: "response.function_call_arguments.delta", ...at, delta })),
    { type: "response.function_call_arguments.done", ...at, name: item.name, arguments: item.arguments },
    { type: "response.output_item.done", output_index: place, item },
  ];
}

function headOf({ id, createdAtMs, request }: ChatAnswer, asked: ResponsesBody): Record<string, unknown> {
  return {
    ...{ id: `resp_${id}`, object: "response", created_at: Math.floor(createdAtMs / 1_000), model: request.model },
    ...{ error: null, background: false, store: false, previous_response_id: null, truncation: "disabled" },
    instructions: asked["instructions"] ?? null,
    max_output_tokens: asked["max_output_tokens"] ?? null,
    metadata: asked["metadata"] ?? {},
    parallel_tool_calls: asked["parallel_tool_calls"] ?? true,
    reasoning: asked["reasoning"] ?? null,
    temperature: asked["temperature"] ?? 1,
    text: { format: { type: "text" } },
    tool_choice: asked["tool_choice"] ?? "auto",
    tools: asked["tools"] ?? [],
    top_p: asked["top_p"] ?? 1,
  };
}

function usageOf({ promptTokens, completionTokens }: ChatAnswer): Record<string, unknown> {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: promptTokens + completionTokens,
  };
}
