import type { Context } from "hono";
import { stream } from "hono/streaming";
import { NightshiftError } from "../errors.ts";
import type { ApiDeps } from "./control.ts";

/** One line of an answer that comes while the work goes on: how far it is, what it came to, or why it ended. */
export type WorkEvent<Done> =
  | { event: "progress"; done: number; total: number }
  | Done
  | { event: "error"; error: { code: string; message: string; fix: string } };

export interface Work {
  /** Aborts when nobody reads the answer any more. */
  signal: AbortSignal;
  progress: (done: number, total: number) => void;
}

/** Work may take minutes; whoever waits for the next line is told that somebody is there. */
const TELL_EVERY_MS = 10_000;

/** Answers in JSON lines while `work` goes on; its result is the last. `what` names the work in messages. */
export function answerInLines<Done extends object>(
  context: Context,
  { what, total: expected = 0 }: { what: string; total?: number },
  work: (options: Work) => Promise<Done>,
  { log }: Pick<ApiDeps, "log">,
): Response {
  context.header("content-type", "application/x-ndjson");
  return stream(context, async (out) => {
    const gone = new AbortController();
    out.onAbort(() => gone.abort(new Error(`nobody waits for this ${what} any more`)));
    const tell = async (event: WorkEvent<Done>): Promise<void> => void (await out.write(`${JSON.stringify(event)}\n`));
    let [done, total] = [0, expected];
    const telling = setInterval(() => void tell({ event: "progress", done, total }), TELL_EVERY_MS);
    try {
      const progress = (count: number, of: number): void => void tell({ event: "progress", done: (done = count), total: (total = of) });
      await tell(await work({ signal: gone.signal, progress }));
    } catch (error) {
      if (gone.signal.aborted) return;
      await tell({ event: "error", error: toldError(error, what, log) });
    } finally {
      clearInterval(telling);
    }
  });
}

function toldError(error: unknown, what: string, log: ApiDeps["log"]): { code: string; message: string; fix: string } {
  if (error instanceof NightshiftError) return { code: error.code, message: error.message, fix: error.fix };
  log.error({ err: error, what }, "work that was asked for failed");
  return { code: "internal", message: `the ${what} could not be completed`, fix: "Read the log of this process." };
}
