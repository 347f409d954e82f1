import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startIngest } from "../../../src/app/capture.ts";
import { startReceiver } from "../../../src/app/receiver.ts";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { parseConfig } from "../../../src/config.ts";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { memoryDatabase } from "../../store/memory-database.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { startNetwork, type Faults, type Network } from "../parts/network.ts";
import { requestsOf, sendAll, untilStored } from "./agents.ts";
import { openTransport, withTopics } from "./world.ts";

let network: Network;
let server: KafkaServer;
let database: Database;
const dataDir = mkdtempSync(join(tmpdir(), "nightshift-network-"));
const [log, artifacts] = [silentLog(), createFileArtifactStore({ dir: dataDir })];
beforeAll(async () => {
  network = await startNetwork();
  [server, database] = await Promise.all([startKafka({ networkPort: network.port }), memoryDatabase()]);
  network.leadTo(server.networkTarget);
});
beforeEach(() => network.set({}));
afterAll(async () => {
  await network.close();
  await server.close();
  await database.close();
  rmSync(dataDir, { recursive: true });
});

const faults: [string, Faults, { requests?: number; mendAfterMs?: number }][] = [
  ["all connections cut every two seconds, and seven of ten new ones refused", { refusedOfTen: 7, cutEveryMs: 2_000 }, { requests: 600 }],
  ["half a second later, both ways", { delayMs: 500 }, {}],
  // Nothing passes until it is mended: only then can anything be stored.
  ["half open for five seconds", { isSilent: true }, { mendAfterMs: 5_000 }],
];

test.each(faults)("%s: span ids sent are span ids stored", { timeout: 240_000 }, async (name, fault, { requests = 120, mendAfterMs }) => {
  const plain = await withTopics(server, { publishTimeoutMs: 3_000 }, { partitions: 3 });
  const config = { ...parseConfig({ collector: { port: 0 } }), dataDir, transport: plain };
  const overNetwork = { ...plain, brokers: [`127.0.0.1:${network.port}`] };
  const [edge, behind] = [openTransport(overNetwork), openTransport(overNetwork)];
  const receiver = await startReceiver(config, { transport: edge, artifacts, log, now: Date.now });
  const ingest = await startIngest(config, { transport: behind, artifacts, database, log, now: Date.now });
  const [sound, faulty] = [requestsOf(`${name}-sound`, 6), requestsOf(`${name}-faulty`, requests)];
  await sendAll(receiver.port, sound);
  await untilStored(
    database,
    sound.map(({ trace }) => trace),
    sound.flatMap(({ spans }) => spans).length,
  );
  const before = { ...network.counts };
  network.set(fault);
  const sending = sendAll(receiver.port, faulty);
  if (mendAfterMs !== undefined) {
    await sleep(mendAfterMs);
    network.set({});
  }
  const attempts = await sending;
  const during = { refused: network.counts.refused - before.refused, cut: network.counts.cut - before.cut };
  // The senders are done; ingest still works through the fault.
  const all = [...sound, ...faulty];
  const sent = all.flatMap(({ spans }) => spans);
  const traces = all.map(({ trace }) => trace);
  const stored = await untilStored(database, traces, sent.length);
  network.set({});
  await receiver.close();
  await ingest.close();
  await Promise.all([edge.close(), behind.close()]);
  expect(stored).toEqual(sent.toSorted());
  if (fault.cutEveryMs !== undefined) expect(Math.min(during.cut, during.refused)).toBeGreaterThan(0);
  process.stdout.write(
    `${name}: ${JSON.stringify({ spans: sent.length, stored: stored.length, requests: all.length, attempts, ...during })}\n`,
  );
});
