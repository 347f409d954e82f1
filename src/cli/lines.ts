import { errorTable, NightshiftError, nightshiftError } from "../errors.ts";
import type { WorkEvent } from "../api/json-lines.ts";
import type { ApiClient } from "./client.ts";
import type { CliContext } from "./context.ts";

const PROGRESS_MS = 3_000;

/** Follows work of the API that tells how far it is, until its last line. `of` names what is counted: `12 of 40 labels judged`. */
export async function followWork<Done extends { event: string }>(
  client: ApiClient,
  { path, body, of, about }: { path: string; body: object; of: string; about: string },
  context: CliContext,
): Promise<Done> {
  let toldAt = Number.NEGATIVE_INFINITY;
  for await (const event of client.lines<WorkEvent<Done>>(path, body)) {
    if (!("done" in event) && !("error" in event)) return event;
    if ("error" in event) throw errorOf(event.error, about);
    if (performance.now() - toldAt < PROGRESS_MS) continue;
    toldAt = performance.now();
    const { done, total } = event as { done: number; total: number };
    context.err(`${done} of ${total} ${of}`);
  }
  throw nightshiftError("api_answer_invalid", { url: client.url, status: 200, problem: "the answer ended before the work did" });
}

function errorOf({ code, message }: { code: string; message: string }, about: string): Error {
  const known = errorTable().find((row) => row.code === code);
  if (known === undefined) return nightshiftError("api_answer_invalid", { url: about, status: 200, problem: message });
  return new NightshiftError(known.code, message);
}
