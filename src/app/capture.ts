import type { ReceiverPorts } from "../../collector/receiver.ts";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import { createCounter, createHistogram, errorTypeOf } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { redactionKeyId } from "../trace/redaction-key.ts";
import { requireSameRedactionKey } from "../trace/redaction-key-check.ts";
import { storeRecord, type Screen } from "../trace/span-store.ts";
import { createAssembler } from "../trajectory/assembler.ts";
import { isClaimGone, noteClaim } from "../trajectory/claims.ts";
import { noteArrivals } from "../trajectory/conversation-store.ts";
import { screenErased } from "../trajectory/screen.ts";
import { tombstoneHash, type TombstoneHash } from "../trajectory/tombstones.ts";
import { redeem } from "../transport/claim.ts";
import type { RecordHandler, Transport, TransportRecord } from "../transport/transport.ts";
import { openPreparation } from "./preparation.ts";
import { startLoop } from "./loop.ts";
import { startReceiver } from "./receiver.ts";
import { keyOf, loadRedactionKeys, type RedactionKeys } from "./redaction-keys.ts";

/** Receiver, ingest and assembly. */
export interface Capture extends ReceiverPorts {
  /** Assembles what is complete now, without waiting for the next sweep. */
  sweep(): Promise<void>;
  close(): Promise<void>;
}

interface CaptureDeps {
  database: Database;
  transport: Transport;
  /** What is larger than a record of the transport passes through it: receivers and ingest must see the same one. */
  artifacts: ArtifactStore;
  log: Logger;
  now: () => number;
}

/** All of capture in one process. */
export async function startCapture(config: Config, deps: CaptureDeps): Promise<Capture> {
  const keys = loadRedactionKeys(config);
  const ingest = await startIngest(config, { ...deps, keys });
  const receiver = await startReceiver(config, { ...deps, keys }).catch(async (error: unknown) => {
    await ingest.close();
    throw error;
  });
  return {
    port: receiver.port,
    grpcPort: receiver.grpcPort,
    sweep: ingest.sweep,
    async close() {
      await receiver.close();
      await ingest.close();
    },
  };
}

/** What follows the transport: stores what it delivers and assembles what is complete. Several may run beside each other. */
export async function startIngest(
  config: Config,
  { database, transport, artifacts, log, now, keys = loadRedactionKeys(config) }: CaptureDeps & { keys?: RedactionKeys },
): Promise<Pick<Capture, "sweep" | "close">> {
  for (const [tenant, key] of keys) await requireSameRedactionKey(database.kysely, tenant, key);
  const stopIngest = await transport.subscribe(createIngest(config, keys, { database, artifacts, now }));
  const assembler = createAssembler({ database, config, log, ...openPreparation(config, { database, keys, artifacts }) });
  const loop = startLoop({ name: "assembly", everyMs: config.capture.sweepMs, log }, (signal) => assembler.sweep(now(), { signal }));
  return {
    async sweep() {
      await assembler.sweep(now());
    },
    async close() {
      await stopIngest();
      await loop.stop();
    },
  };
}

/** Stores a record and files it under its conversation, in one transaction: an acknowledged span is never without its conversation. */
function createIngest(
  config: Config,
  keys: RedactionKeys,
  { database, artifacts, now }: Pick<CaptureDeps, "database" | "artifacts" | "now">,
): RecordHandler {
  const delay = createHistogram(METRIC.ingestDelay);
  const stored = createCounter(METRIC.ingestStored);
  const refusals = createCounter(METRIC.ingestRefused);
  const hashes = new Map<string, TombstoneHash>();
  const hashOf = async (tenant: string): Promise<TombstoneHash> => {
    const hash = hashes.get(tenant) ?? (await tombstoneHash(database.kysely, tenant));
    hashes.set(tenant, hash);
    return hash;
  };
  const store = async (record: TransportRecord, redactionKey: Uint8Array, claim?: Digest) => {
    const hash = await hashOf(record.tenant);
    return database.transaction(
      async (trx) => {
        const { tenant, receivedAtMs } = record;
        const nowMs = now();
        let refused = 0;
        const screen: Screen = async (records) => {
          const erased = await screenErased(trx, { tenant, hash, receivedAtMs, nowMs }, records);
          refused += erased.size;
          return erased;
        };
        const captured = await storeRecord(trx, record, { redactionKey, screen });
        if (claim !== undefined) await noteClaim(trx, { tenant, digest: claim, receivedAtMs, nowMs, isRefused: refused > 0 }, captured);
        await noteArrivals(trx, {
          ...{ tenant, ...captured, receivedAtMs },
          storedAtMs: nowMs,
          agents: config.agents,
        });
        return { stored: captured.spans.length + captured.logs.length, refused };
      },
      { isolation: "read committed" },
    );
  };
  return async (record, { signal: giveUp }) => {
    const signal = { "nightshift.signal": record.signal };
    try {
      const key = keyOf(keys, record.tenant);
      requireRedactedWith(key, record);
      // Its object is gone on purpose: waiting for it would hold the partition back for ever.
      if (record.claim !== undefined && (await isClaimGone(database.kysely, record.tenant, record.claim))) return;
      const done = await store(await redeem(record, artifacts, { signal: giveUp }), key, record.claim);
      stored.add(done.stored, signal);
      if (done.refused > 0) refusals.add(done.refused, signal);
      delay.record((now() - record.receivedAtMs) / 1_000, signal);
    } catch (error) {
      delay.record((now() - record.receivedAtMs) / 1_000, { ...signal, "error.type": errorTypeOf(error) });
      throw error;
    }
  };
}

/** A collector with a key of its own made pseudonyms that match nobody's: its records are put aside, with the reason. */
function requireRedactedWith(key: Uint8Array, { tenant, redactionKeyId: id }: TransportRecord): void {
  const expected = redactionKeyId(key);
  if (id !== undefined && id !== expected) throw nightshiftError("redaction_key_differs", { tenant, id, expected });
}
