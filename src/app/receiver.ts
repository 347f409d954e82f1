import { createReceiver, type ReceiverPorts } from "../../collector/receiver.ts";
import { createTenantOf } from "../../collector/tenant.ts";
import type { ArtifactStore } from "../artifact/artifact-store.ts";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { createRedactor } from "../trace/redact-request.ts";
import type { Transport } from "../transport/transport.ts";
import { keyOf, loadRedactionKeys, type RedactionKeys } from "./redaction-keys.ts";

export interface ReceiverParts {
  transport: Transport;
  /** What is larger than a record of the transport passes through it: receivers and ingest must see the same one. */
  artifacts: ArtifactStore;
  log: Logger;
  now: () => number;
  keys?: RedactionKeys;
}

/** The edge: takes OTLP requests, redacts them, and answers when the transport has them. Needs no database. */
export async function startReceiver(
  config: Config,
  { transport, artifacts, log, now, keys = loadRedactionKeys(config) }: ReceiverParts,
): Promise<ReceiverPorts & { close(): Promise<void> }> {
  const receiver = createReceiver(config.collector, {
    transport,
    artifacts,
    log,
    redactor: config.collector.redact ? createRedactor((tenant) => keyOf(keys, tenant)) : null,
    tenant: createTenantOf(config),
    now,
  });
  const ports = await receiver.start();
  return { ...ports, close: () => receiver.close() };
}
