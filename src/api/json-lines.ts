import type { Context } from "hono";
import { stream } from "hono/streaming";
import { NightshiftError } from "../errors.ts";
import type { ApiDeps } from "./control.ts";

/** The last line of an answer that failed after it had begun. */
export interface ErrorEvent {
  event: "error";
  error: { code: string; message: string; fix: string };
}

/**
 * Answers in JSON lines while `work` goes on; its signal aborts when nobody reads them any more.
 * @param what Is named in the log where a defect of ours ends it.
 */
export function answerInLines<Event extends { event: string }>(
  context: Context,
  { log }: Pick<ApiDeps, "log">,
  what: string,
  work: (tell: (event: Event) => Promise<void>, signal: AbortSignal) => Promise<void>,
): Response {
  context.header("content-type", "application/x-ndjson");
  return stream(context, async (out) => {
    const gone = new AbortController();
    out.onAbort(() => gone.abort(new Error(`nobody waits for this ${what} any more`)));
    const tell = async (event: Event | ErrorEvent): Promise<void> => void (await out.write(`${JSON.stringify(event)}\n`));
    try {
      await work(tell, gone.signal);
    } catch (error) {
      if (gone.signal.aborted) return;
      await tell({ event: "error", error: told(error) });
    }
  });

  function told(error: unknown): ErrorEvent["error"] {
    if (error instanceof NightshiftError) return { code: error.code, message: error.message, fix: error.fix };
    log.error({ err: error, what }, "request failed");
    return { code: "internal", message: `the ${what} could not be completed`, fix: "Read the log of this process." };
  }
}
