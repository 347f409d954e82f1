import type { ArtifactStore } from "../src/artifact/artifact-store.ts";
import { NightshiftError } from "../src/errors.ts";
import { giveBack } from "../src/give-back.ts";
import type { Logger } from "../src/log.ts";
import type { Redactor } from "../src/trace/redact-request.ts";
import { scanRequest } from "../src/trace/scan.ts";
import { splitRequest } from "../src/trace/split.ts";
import type { Signal } from "../src/trace/wire.ts";
import { checkIn } from "../src/transport/claim.ts";
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
  /** Takes what is larger than a record of the transport. Ingest reads the same store. */
  artifacts: ArtifactStore;
  redactor: Redactor | null;
  log: Logger;
}

const ARTIFACT_RETRY_MS = 5_000;

/**
 * Checks a request, takes secrets and PII out, and hands it to the transport. Resolves when the transport has it durably.
 * Clean bytes travel as they came, still compressed; what is larger than the transport takes at once goes in parts, uncompressed, and a single record that is
 * larger goes through the artifact store.
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
    ...(deps.redactor === null ? {} : { redactionKeyId: deps.redactor.keyId(about.tenant) }),
  };
  await publishWhole(record, redacted, key, deps);
  // A copy of our own, which is stored now, whole or in parts. After a failure it may still be on its way.
  if (redacted !== body.bytes) giveBack(redacted);
  return scan;
}

/** @param bytes the record's body, not compressed */
async function publishWhole(record: TransportRecord, bytes: Uint8Array, key: string | null, deps: Deps): Promise<void> {
  const result = await deps.transport.publish(record, { key });
  if (result.status === "stored") return;
  // The sender repeats the whole request: parts that are stored already are told by their span ids.
  if (result.status === "retryable") throw unavailable("not stored, send it again", result.retryAfterMs);
  for (const part of splitRequest(bytes, record.signal, result.maxBytes)) {
    const whole: TransportRecord = { ...record, body: part.bytes, encoding: "identity" };
    if (part.isOversized) await publishClaim(whole, key, deps);
    else await publishWhole(whole, part.bytes, key, deps);
  }
}

async function publishClaim(record: TransportRecord, key: string | null, { transport, artifacts, log }: Deps): Promise<void> {
  const claim = await checkIn(record, artifacts).catch((error: unknown) => {
    // Whatever is wrong with the store (a full disk, no right to write), the sender still has the span.
    log.error({ err: error, tenant: record.tenant, bytes: record.body.length }, "large record not stored");
    throw unavailable("not stored, send it again", ARTIFACT_RETRY_MS);
  });
  const result = await transport.publish(claim, { key });
  if (result.status !== "stored")
    throw unavailable("not stored, send it again", "retryAfterMs" in result ? result.retryAfterMs : ARTIFACT_RETRY_MS);
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
