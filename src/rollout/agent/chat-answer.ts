import type { ChatMessage } from "../../serving/policy-server.ts";
import type { AgentRequest } from "./chat-request.ts";

/** One answered chat completion. */
export interface ChatAnswer {
  id: string;
  createdAtMs: number;
  request: Pick<AgentRequest, "model" | "includeUsage">;
  message: ChatMessage;
  /** stop | length | tool_calls */
  finishReason: string;
  promptTokens: number;
  completionTokens: number;
}

/** The body of an OpenAI chat completion. Pure. */
export function completionOf(answer: ChatAnswer): Record<string, unknown> {
  const { message, finishReason } = answer;
  return {
    ...headOf(answer, "chat.completion"),
    choices: [{ index: 0, message: { ...message, refusal: null }, logprobs: null, finish_reason: finishReason }],
    usage: usageOf(answer),
  };
}

/** Characters of text or arguments in one chunk: agents must see that a stream has several. */
const PIECE = 24;

/** The same as server-sent events, `[DONE]` at the end: role, text, tool calls with their arguments in pieces, the finish reason, usage where asked for. Pure. */
export function chunksOf(answer: ChatAnswer): string[] {
  const { message, finishReason, request } = answer;
  const head = headOf(answer, "chat.completion.chunk");
  const chunk = (delta: Record<string, unknown>, finish: string | null = null): Record<string, unknown> => ({
    ...head,
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
    ...(request.includeUsage ? { usage: null } : {}),
  });
  const calls = (message.tool_calls ?? []).flatMap(({ id, type, function: { name, arguments: text } }, index) => [
    chunk({ tool_calls: [{ index, id, type, function: { name, arguments: "" } }] }),
    ...pieces(text).map((piece) => chunk({ tool_calls: [{ index, function: { arguments: piece } }] })),
  ]);
  const chunks = [
    chunk({ role: "assistant", content: message.content === null ? null : "" }),
    ...pieces(message.content ?? "").map((piece) => chunk({ content: piece })),
    ...calls,
    chunk({}, finishReason),
    ...(request.includeUsage ? [{ ...head, choices: [], usage: usageOf(answer) }] : []),
  ];
  return [...chunks.map((one) => `data: ${JSON.stringify(one)}\n\n`), "data: [DONE]\n\n"];
}

function headOf({ id, createdAtMs, request }: ChatAnswer, object: string): Record<string, unknown> {
  return { id, object, created: Math.floor(createdAtMs / 1_000), model: request.model };
}

function usageOf({ promptTokens, completionTokens }: ChatAnswer): Record<string, number> {
  return { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: promptTokens + completionTokens };
}

/** The text in pieces, by code points, so that no chunk holds half a surrogate pair; what its reader puts together again is the same text. */
export function pieces(text: string): string[] {
  const characters = Array.from(text);
  return Array.from({ length: Math.ceil(characters.length / PIECE) }, (_, at) => characters.slice(at * PIECE, (at + 1) * PIECE).join(""));
}
