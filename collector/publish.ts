import { NightshiftError, nightshiftError } from "../src/errors.ts";
import type { Logger } from "../src/log.ts";
import type { Redactor } from "../src/trace/redact-request.ts";
import { scanRequest } from "../src/trace/scan.ts";
import { splitRequest } from "../src/trace/split.ts";
import type { Signal } from "../src/trace/wire.ts";
import type { Transport, TransportRecord } from "../src/transport/transport.ts";
import type { Body } from "./body.ts";
import { Refusal, unavailable } from "./reply.ts";

export interface Accepted {
  accepted: number;
  rejected: number;
  problem: string;
}

interface Deps {
  transport: Transport;
  redactor: Redactor | null;
  log: Logger;
}

/**
 * Checks a request, takes secrets and PII out, and hands it to the transport. Resolves when the transport has it durably.
 * Clean bytes travel as they came, still compressed; what is larger than the transport takes at once goes in parts, uncompressed.
 * @param body `bytes` is the request as protobuf; `wire` is null when it was translated from JSON
 * @throws Refusal 400 for what cannot be read, 503 when the transport does not have all of it
 */
export async function publishRequest(
  body: { bytes: Uint8Array; wire: Pick<Body, "wire" | "encoding"> | null },
  about: { tenant: string; signal: Signal; receivedAtMs: number },
  deps: Deps,
): Promise<Accepted> {
  const { traceId: key, ...scan } = refuseMalformed(() => scanRequest(body.bytes, about.signal));
  if (scan.accepted === 0) return scan;
  const redacted = deps.redactor === null ? body.bytes : await deps.redactor.redactRequest(body.bytes, about.signal, about.tenant);
  const untouched = redacted === body.bytes && body.wire !== null;
  const record: TransportRecord = {
    ...about,
    body: untouched && body.wire !== null ? body.wire.wire : redacted,
    encoding: untouched && body.wire !== null ? body.wire.encoding : "identity",
    redacted: true,
  };
  const oversized = await publishWhole(record, redacted, key, deps);
  const [first] = oversized;
  if (first === undefined) return scan;
  deps.log.error(
    { code: first.code, problem: first.message, fix: first.fix, tenant: about.tenant, count: oversized.length },
    "record dropped",
  );
  const problem = [scan.problem, `${oversized.length} rejected: ${first.message}`].filter((text) => text !== "").join("; ");
  return { accepted: scan.accepted - oversized.length, rejected: scan.rejected + oversized.length, problem };
}

/**
 * Resolves to one error per span or log record that the transport will never take.
 * @param bytes the record's body, not compressed
 */
async function publishWhole(record: TransportRecord, bytes: Uint8Array, key: string | null, deps: Deps): Promise<NightshiftError[]> {
  const result = await deps.transport.publish(record, { key });
  if (result.status === "stored") return [];
  // The sender repeats the whole request: parts that are stored already are told by their span ids.
  if (result.status === "retryable") throw unavailable("not stored, send it again", result.retryAfterMs);
  const { maxBytes } = result;
  const { parts, oversized } = splitRequest(bytes, record.signal, maxBytes);
  const errors = oversized.map((size) => nightshiftError("record_too_large", { bytes: size, maxBytes }));
  for (const part of parts) errors.push(...(await publishWhole({ ...record, body: part, encoding: "identity" }, part, key, deps)));
  return errors;
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
