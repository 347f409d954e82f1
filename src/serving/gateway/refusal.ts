import type { ServerResponse } from "node:http";

/** An answer of the gateway itself, in the shape that OpenAI's clients understand. */
export interface Refusal {
  status: 400 | 403 | 404 | 405 | 413 | 415 | 429 | 502 | 503 | 504;
  /** Stable, for programs. */
  code: string;
  message: string;
  retryAfterMs?: number;
}

export function sendRefusal(response: ServerResponse, refusal: Refusal): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const type = refusal.status === 429 ? "rate_limit_error" : refusal.status >= 500 ? "api_error" : "invalid_request_error";
  const body = JSON.stringify({ error: { message: refusal.message, type, param: null, code: refusal.code } });
  response.writeHead(refusal.status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...(refusal.retryAfterMs === undefined ? {} : { "retry-after": String(Math.max(1, Math.ceil(refusal.retryAfterMs / 1_000))) }),
    // The rest of an oversized body is never read, so the connection cannot be used again.
    ...(refusal.status === 413 ? { connection: "close" } : {}),
  });
  response.end(body);
}
