import { setTimeout as sleep } from "node:timers/promises";
import { request } from "undici";
import type { SendSpans } from "./emitter.ts";

/** After these a collector may take the same request later (OTLP's specification, as well as no answer at all). */
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);
/** For one request with all its tries: others wait behind it. */
const PATIENCE_MS = 10_000;
/** Whatever `Retry-After` says. */
const LEAST_WAIT_MS = 100;
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
  async function attempt(body: Uint8Array, signal: AbortSignal): Promise<{ problem: string; retryMs?: number | null } | null> {
    try {
      const { statusCode, headers: answered, body: rest } = await request(url, { method: "POST", headers, body, signal });
      await rest.dump();
      if (statusCode >= 200 && statusCode < 300) return null;
      const problem = `HTTP ${statusCode}`;
      return RETRYABLE.has(statusCode) ? { problem, retryMs: secondsOf(answered["retry-after"]) } : { problem };
    } catch (cause) {
      if (signal.aborted) return { problem: `no answer within ${PATIENCE_MS} ms` };
      const { code, message } = cause as NodeJS.ErrnoException;
      return { problem: code ?? message, retryMs: null };
    }
  }

  return async (body) => {
    const startMs = performance.now();
    const signal = AbortSignal.timeout(PATIENCE_MS);
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 1.5, LONGEST_WAIT_MS)) {
      const failed = await attempt(body, signal);
      if (failed === null) return null;
      const nextMs = Math.max(LEAST_WAIT_MS, failed.retryMs ?? waitMs * (0.8 + 0.4 * Math.random()));
      if (failed.retryMs === undefined || performance.now() - startMs + nextMs > PATIENCE_MS) return failed.problem;
      await sleep(nextMs);
    }
  };
}

/** `Retry-After` in milliseconds; null where it does not say so in seconds. */
function secondsOf(header: string | string[] | undefined): number | null {
  return typeof header === "string" && /^\d{1,6}$/.test(header) ? Number(header) * 1_000 : null;
}
