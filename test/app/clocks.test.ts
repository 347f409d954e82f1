import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { startIngest } from "../../src/app/capture.ts";
import { startReceiver } from "../../src/app/receiver.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { loadTraces } from "../../src/trace/span-store.ts";
import { createRouteTable } from "../../src/serving/route-table.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import { protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { experiment } from "../serving/gateway-fixture.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const HOUR_MS = 3_600_000;
const GRACE_MS = 15_000;
const START_MS = Date.UTC(2026, 10, 21, 3);
const log = silentLog();
const dataDir = mkdtempSync(join(tmpdir(), "nightshift-clocks-"));
const artifacts = createFileArtifactStore({ dir: dataDir });
// The loop's own sweeps are further apart than a test is long.
const config = { ...parseConfig({ collector: { port: 0 }, capture: { graceMs: GRACE_MS, sweepMs: HOUR_MS } }), dataDir };
let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(async () => {
  await database.close();
  rmSync(dataDir, { recursive: true });
});

const running: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const part of running.splice(0).toReversed()) await part.close();
});

/** A sender (an agent or a gateway), a collector and an ingest with a clock each, and one conversation that comes through them. */
async function start(name: string) {
  const clock = { senderMs: START_MS, collectorMs: START_MS, ingestMs: START_MS };
  const transport = createInlineTransport({ log });
  const ingest = await startIngest(config, { database, transport, artifacts, log, now: () => clock.ingestMs });
  const receiver = await startReceiver(config, { transport, artifacts, log, now: () => clock.collectorMs });
  running.push(transport, ingest, receiver);
  const trace = Buffer.from(name).toString("hex").padStart(32, "0").slice(-32);
  const send = async (number: number, more: object): Promise<void> => {
    const spanId = number.toString(16).padStart(16, "0");
    const times = { startTimeUnixNano: `${clock.senderMs}000000`, endTimeUnixNano: `${clock.senderMs + 500}000000` };
    const response = await fetch(`http://127.0.0.1:${receiver.port}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf" },
      body: protobuf(traceRequest([spanJson({ traceId: trace, spanId, ...times, ...more })])) as Uint8Array<ArrayBuffer>,
    });
    expect(response.status).toBe(200);
  };
  const read = async () => {
    const { spans } = await loadTraces(database.kysely, "default", [trace]);
    const row = await database.kysely.selectFrom("conversations").selectAll().where("key", "=", trace).executeTakeFirstOrThrow();
    return { spans: spans.length, state: row.state, version: row.version };
  };
  return {
    clock,
    sendChild: (number: number) => send(number, { parentSpanId: "ff".repeat(8) }),
    sendRoot: () => send(0xff, { spanId: "ff".repeat(8) }),
    async sweep() {
      await ingest.sweep();
      return read();
    },
    pass(ms: number) {
      for (const whose of ["senderMs", "collectorMs", "ingestMs"] as const) clock[whose] += ms;
    },
  };
}

describe.each([
  ["a collector", "ahead", "collectorMs", HOUR_MS],
  ["a collector", "behind", "collectorMs", -HOUR_MS],
  ["a gateway", "ahead", "senderMs", HOUR_MS],
  ["a gateway", "behind", "senderMs", -HOUR_MS],
] as const)("%s's clock an hour %s", (who, where, clock, skewMs) => {
  test("a conversation is whole when it completes, and completes after the grace", async () => {
    const world = await start(`${who} ${where}`);
    world.clock[clock] += skewMs;
    await world.sendChild(1);
    world.pass(2_000);
    expect(await world.sweep()).toEqual({ spans: 1, state: "open", version: 1 });
    await world.sendChild(2);
    await world.sendRoot();
    world.pass(GRACE_MS - 1);
    expect(await world.sweep()).toEqual({ spans: 3, state: "open", version: 1 });
    world.pass(1);
    expect(await world.sweep()).toEqual({ spans: 3, state: "complete", version: 1 });
  });
});

test("records that waited an hour for ingest are taken for a conversation once all of them are there", async () => {
  const world = await start("an outage of ingest");
  world.clock.ingestMs += HOUR_MS;
  await world.sendChild(1);
  expect(await world.sweep()).toMatchObject({ state: "open" });
  await world.sendChild(2);
  await world.sendRoot();
  world.pass(GRACE_MS);
  expect(await world.sweep()).toEqual({ spans: 3, state: "complete", version: 1 });
});

test("ingest's clock jumps an hour forward and back: nothing is lost, and the conversation completes in the end with everything", async () => {
  const world = await start("ingest's clock");
  await world.sendChild(1);
  world.clock.ingestMs += HOUR_MS;
  // To a clock that jumped, everything was quiet for an hour.
  expect(await world.sweep()).toMatchObject({ spans: 1, state: "complete" });
  await world.sendChild(2);
  expect(await world.sweep()).toMatchObject({ state: "open" });
  world.clock.ingestMs -= HOUR_MS;
  await world.sendRoot();
  expect(await world.sweep()).toMatchObject({ spans: 3, state: "open" });
  world.pass(HOUR_MS + GRACE_MS);
  expect(await world.sweep()).toEqual({ spans: 3, state: "complete", version: 2 });
});

test.each([HOUR_MS, -HOUR_MS])("the wall clock jumps by %d ms: no lease is lengthened, none is cut", async (jumpMs) => {
  vi.useFakeTimers({ toFake: ["Date"], now: START_MS });
  try {
    let monotonicMs = 0;
    const table = await createRouteTable({ leaseMs: 1_000 }, { monotonicMs: () => monotonicMs, log });
    table.receive(experiment(0.5), 0);
    vi.setSystemTime(START_MS + jumpMs);
    monotonicMs = 999;
    expect(table.effective("shop")?.weight).toBe(0.5);
    monotonicMs = 1_000;
    expect(table.effective("shop")?.weight).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
