import { isRecord } from "../json.ts";

interface Call {
  id?: string;
  function: { name: string; arguments: string };
}

/** What the chunks of one streamed chat completion say of tools, in the form of OpenAI's API, and why it ended. */
export interface Joined {
  calls: Call[];
  finishReason: string | null;
}

/** Puts the tool calls of a stream together, first choice only. Pieces of parallel calls are told apart by their index. */
export function joinChunks(chunks: readonly unknown[]): Joined {
  let finishReason: string | null = null;
  const calls = new Map<number, Call>();
  for (const chunk of chunks) {
    const choice = firstChoice(chunk);
    const pieces = isRecord(choice["delta"]) ? choice["delta"]["tool_calls"] : undefined;
    if (typeof choice["finish_reason"] === "string") finishReason = choice["finish_reason"];
    for (const piece of Array.isArray(pieces) ? pieces.filter(isRecord) : []) addPiece(calls, piece);
  }
  return { calls: [...calls].toSorted(([a], [b]) => a - b).map(([, call]) => call), finishReason };
}

function addPiece(calls: Map<number, Call>, piece: Record<string, unknown>): void {
  const index = typeof piece["index"] === "number" ? piece["index"] : 0;
  const call = calls.get(index) ?? { function: { name: "", arguments: "" } };
  calls.set(index, call);
  if (typeof piece["id"] === "string") call.id = piece["id"];
  if (!isRecord(piece["function"])) return;
  call.function.name += text(piece["function"]["name"]);
  call.function.arguments += text(piece["function"]["arguments"]);
}

function firstChoice(chunk: unknown): Record<string, unknown> {
  const choices = isRecord(chunk) && Array.isArray(chunk["choices"]) ? chunk["choices"] : [];
  const first: unknown = choices.find((choice) => isRecord(choice) && (choice["index"] ?? 0) === 0);
  return isRecord(first) ? first : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
