import { join } from "node:path";
import { createReceiver, type Receiver } from "../../collector/receiver.ts";
import { createTenantOf } from "../../collector/tenant.ts";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import { createRedactor } from "../trace/redact-request.ts";
import { ensureRedactionKey, readRedactionKey } from "../trace/redaction-key.ts";
import { storeRecord } from "../trace/span-store.ts";
import { createAssembler } from "../trajectory/assembler.ts";
import { noteArrivals } from "../trajectory/conversation-store.ts";
import type { RecordHandler, Transport } from "../transport/transport.ts";
import { startLoop } from "./loop.ts";

/** Receiver, ingest and assembly. */
export interface Capture {
  port: number;
  /** Assembles what is complete now, without waiting for the next sweep. */
  sweep(): Promise<void>;
  close(): Promise<void>;
}

export async function startCapture(
  config: Config,
  deps: { database: Database; transport: Transport; log: Logger; now: () => number },
): Promise<Capture> {
  const { database, transport, log, now } = deps;
  const keys = redactionKeys(config);
  const stopIngest = await transport.subscribe(createIngest(config, keys, database));
  const receiver: Receiver = createReceiver(config.collector, {
    transport,
    log,
    redactor: config.collector.redact ? createRedactor((tenant) => keyOf(keys, tenant)) : null,
    tenant: createTenantOf(config),
    now,
  });
  const assembler = createAssembler({ database, config, log });
  const { port } = await receiver.start();
  const loop = startLoop({ name: "assembly", everyMs: config.capture.sweepMs, log }, (signal) => assembler.sweep(now(), { signal }));
  return {
    port,
    async sweep() {
      await assembler.sweep(now());
    },
    async close() {
      await receiver.close();
      await stopIngest();
      await loop.stop();
    },
  };
}

/** Stores a record and files it under its conversation, in one transaction: an acknowledged span is never without its conversation. */
function createIngest(config: Config, keys: ReadonlyMap<string, Uint8Array>, database: Database): RecordHandler {
  return async (record) => {
    const redactionKey = keyOf(keys, record.tenant);
    await database.kysely.transaction().execute(async (trx) => {
      const captured = await storeRecord(trx, record, { redactionKey });
      await noteArrivals(trx, { tenant: record.tenant, ...captured, receivedAtMs: record.receivedAtMs, agents: config.agents });
    });
  };
}

function redactionKeys(config: Config): ReadonlyMap<string, Uint8Array> {
  return new Map(
    Object.entries(config.tenants).map(([tenant, { redactionKeyFile }]) => [
      tenant,
      redactionKeyFile === undefined
        ? ensureRedactionKey(join(config.dataDir, "keys", `redaction-${tenant}.key`))
        : readRedactionKey(redactionKeyFile),
    ]),
  );
}

function keyOf(keys: ReadonlyMap<string, Uint8Array>, tenant: string): Uint8Array {
  const key = keys.get(tenant);
  if (key === undefined) throw nightshiftError("tenant_unknown", { tenant });
  return key;
}
