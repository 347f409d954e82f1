import type { ArtifactStore } from "../artifact/artifact-store.ts";
import { nightshiftError } from "../errors.ts";
import type { TransportRecord } from "./transport.ts";

/**
 * The record as a claim check: its body goes into the artifact store, the record carries the digest. Resolves once the body is durable. The same body twice is
 * one object, so a sender that repeats itself leaves nothing behind.
 */
export async function checkIn(record: TransportRecord, artifacts: ArtifactStore): Promise<TransportRecord> {
  const { digest } = await artifacts.put(record.body);
  return { ...record, body: new Uint8Array(), claim: digest };
}

/**
 * The record with its body, whichever way that travelled.
 * @throws NightshiftError `claim_missing`, which is retryable: the record waits until both ends see one store, because nobody else has its spans any more
 */
export async function redeem(
  record: TransportRecord,
  artifacts: ArtifactStore,
  options?: { signal?: AbortSignal },
): Promise<TransportRecord> {
  if (record.claim === undefined) return record;
  const { claim, ...rest } = record;
  const body = await artifacts.get(claim, options);
  if (body === null) throw nightshiftError("claim_missing", { digest: claim });
  return { ...rest, body };
}
