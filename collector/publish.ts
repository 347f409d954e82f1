import { NightshiftError } from "../src/errors.ts";
import type { Redactor } from "../src/trace/redact-request.ts";
import { scanRequest } from "../src/trace/scan.ts";
import type { Signal } from "../src/trace/wire.ts";
import type { Transport } from "../src/transport/transport.ts";
import type { Body } from "./body.ts";
import { Refusal, unavailable } from "./reply.ts";

export interface Accepted {
  accepted: number;
  rejected: number;
  problem: string;
}

/**
 * Checks a request, takes secrets and PII out, and hands it to the transport. Resolves when the transport has it durably.
 * Clean bytes travel as they came, still compressed.
 * @param body `bytes` is the request as protobuf; `wire` is null when it was translated from JSON
 * @throws Refusal 400 for what cannot be read, 503 when the transport does not have it
 */
export async function publishRequest(
  body: { bytes: Uint8Array; wire: Pick<Body, "wire" | "encoding"> | null },
  about: { tenant: string; signal: Signal; receivedAtMs: number },
  deps: { transport: Transport; redactor: Redactor | null },
): Promise<Accepted> {
  const scan = refuseMalformed(() => scanRequest(body.bytes, about.signal));
  if (scan.accepted === 0) return scan;
  const redacted = deps.redactor === null ? body.bytes : await deps.redactor.redactRequest(body.bytes, about.signal, about.tenant);
  const untouched = redacted === body.bytes && body.wire !== null;
  const result = await deps.transport.publish({
    ...about,
    body: untouched && body.wire !== null ? body.wire.wire : redacted,
    encoding: untouched && body.wire !== null ? body.wire.encoding : "identity",
    redacted: true,
  });
  if (result.status === "retryable") throw unavailable("not stored, send it again", result.retryAfterMs);
  return scan;
}

/** Turns "these bytes are not OTLP" into a 400. */
export function refuseMalformed<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof NightshiftError && cause.code === "otlp_malformed") throw new Refusal(400, cause.message);
    throw cause;
  }
}
