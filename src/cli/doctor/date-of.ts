import { request } from "undici";
import { clockAheadMs } from "./clock.ts";

/** How far the clock behind a URL is ahead of this machine's, by the `Date` of any answer; null where none came or it told no time. */
export async function dateOf(url: string, timeoutMs: number): Promise<number | null> {
  const askedAtMs = Date.now();
  try {
    const answer = await request(url, {
      method: "GET",
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      signal: AbortSignal.timeout(timeoutMs),
    });
    const answeredAtMs = Date.now();
    await answer.body.dump();
    const date = answer.headers["date"];
    return clockAheadMs(Array.isArray(date) ? date[0] : date, askedAtMs, answeredAtMs);
  } catch {
    // Whoever asks has said already what is wrong with that server.
    return null;
  }
}
