import { createHash } from "node:crypto";
import { createTenantOf } from "../../collector/tenant.ts";
import { createReceiver, type Receiver } from "../../collector/receiver.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createRedactor } from "../../src/trace/redact-request.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import type { RecordHandler, Transport, TransportRecord } from "../../src/transport/transport.ts";

export const REDACTION_KEY = createHash("sha256").update("test key").digest();

export interface Capture {
  url: string;
  grpcPort: number;
  receiver: Receiver;
  transport: Transport;
  /** Everything the handler was given, in order. */
  records: TransportRecord[];
  post(path: string, body: Uint8Array | string, headers?: Record<string, string>): Promise<Response>;
  close(): Promise<void>;
}

/** A running receiver over the inline transport; `handler` defaults to keeping the records. */
export async function startCapture(
  options: { collector?: object; tenants?: object; handler?: RecordHandler; redact?: boolean } = {},
): Promise<Capture> {
  const config = parseConfig({
    collector: { port: 0, ...options.collector },
    ...(options.tenants === undefined ? {} : { tenants: options.tenants }),
  });
  const log = silentLog();
  const transport = createInlineTransport({ log });
  const records: TransportRecord[] = [];
  await transport.subscribe(async (record, about) => {
    // What is stored is the publisher's again.
    records.push({ ...record, body: Uint8Array.from(record.body) });
    await options.handler?.(record, about);
  });
  const redactor = options.redact === false ? null : createRedactor(() => REDACTION_KEY);
  // The inline transport takes every size: nothing goes through the store.
  const artifacts = createFileArtifactStore({ dir: "/nonexistent" });
  const receiver = createReceiver(config.collector, { transport, artifacts, log, redactor, tenant: createTenantOf(config) });
  const { port, grpcPort } = await receiver.start();
  const url = `${config.collector.tls === undefined ? "http" : "https"}://127.0.0.1:${port}`;
  return {
    url,
    grpcPort: grpcPort ?? 0,
    receiver,
    transport,
    records,
    post: (path, body, headers = {}) =>
      fetch(url + path, { method: "POST", body: body as string, headers: { "content-type": "application/x-protobuf", ...headers } }),
    async close() {
      await receiver.close();
      await transport.close();
    },
  };
}
