import { isRecord } from "../json.ts";

/** What the chunks of one streamed chat completion say together, in the form of OpenAI's API. */
export interface Joined {
  message: { role: "assistant"; content: string; tool_calls: { id?: string; function: { name: string; arguments: string } }[] };
  finishReason: string | null;
}

/** Puts the pieces of a stream together, first choice only. Pieces of parallel calls are told apart by their index. */
export function joinChunks(chunks: readonly unknown[]): Joined {
  let content = "";
  let finishReason: string | null = null;
  const calls = new Map<number, Joined["message"]["tool_calls"][number]>();
  for (const chunk of chunks) {
    const choice = firstChoice(chunk);
    const delta = isRecord(choice["delta"]) ? choice["delta"] : {};
    content += text(delta["content"]);
    if (typeof choice["finish_reason"] === "string") finishReason = choice["finish_reason"];
    for (const piece of Array.isArray(delta["tool_calls"]) ? delta["tool_calls"].filter(isRecord) : []) addPiece(calls, piece);
  }
  const inOrder = [...calls].toSorted(([a], [b]) => a - b).map(([, call]) => call);
  return { message: { role: "assistant", content, tool_calls: inOrder }, finishReason };
}

function addPiece(calls: Map<number, Joined["message"]["tool_calls"][number]>, piece: Record<string, unknown>): void {
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
