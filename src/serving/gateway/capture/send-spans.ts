import { setTimeout as sleep } from "node:timers/promises";
import type { SendSpans } from "./emitter.ts";

/** After these a collector may take the same request later (OTLP's specification, as well as no answer at all). */
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);
/** For one request with all its tries: others wait behind it. */
const PATIENCE_MS = 10_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 5_000;

/** Sends spans to a collector's OTLP/HTTP endpoint, not compressed: it is on the same machine or near. */
export function createSendSpans({ collectorUrl, token }: { collectorUrl: string; token?: string | undefined }): SendSpans {
  const url = `${collectorUrl.replace(/\/+$/, "")}/v1/traces`;
  const headers = {
    "content-type": "application/x-protobuf",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };

  /** One try: what went wrong, and in how many milliseconds another one is worth it, where one is. */
  async function attempt(body: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<{ problem: string; retryMs?: number | null } | null> {
    try {
      const answer = await fetch(url, { method: "POST", headers, body, signal, redirect: "manual" });
      await answer.arrayBuffer();
      if (answer.ok) return null;
      const problem = `HTTP ${answer.status}`;
      return RETRYABLE.has(answer.status) ? { problem, retryMs: secondsOf(answer.headers.get("retry-after")) } : { problem };
    } catch (cause) {
      if (signal.aborted) return { problem: `no answer within ${PATIENCE_MS} ms` };
      const { message, cause: inner } = cause as Error & { cause?: Error & { code?: string } };
      return { problem: inner?.code ?? inner?.message ?? message, retryMs: null };
    }
  }

  return async (body) => {
    const startMs = performance.now();
    const signal = AbortSignal.timeout(PATIENCE_MS);
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 1.5, LONGEST_WAIT_MS)) {
      const failed = await attempt(body, signal);
      if (failed === null) return null;
      const nextMs = failed.retryMs ?? waitMs * (0.8 + 0.4 * Math.random());
      if (failed.retryMs === undefined || performance.now() - startMs + nextMs > PATIENCE_MS) return failed.problem;
      await sleep(nextMs);
    }
  };
}

/** `Retry-After` in milliseconds; null where it does not say so in seconds. */
function secondsOf(header: string | null): number | null {
  return header !== null && /^\d{1,6}$/.test(header) ? Number(header) * 1_000 : null;
}
