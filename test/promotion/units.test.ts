import type { KyselyPlugin } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createUnitSource, UNITS_AT_ONCE } from "../../src/promotion/units.ts";
import type { Database } from "../../src/store/database.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

const QUERY = {
  experimentId: "e",
  tenant: "default",
  agent: "shop",
  candidateDigest: "sha256:c",
  horizonMs: 1000,
  sinceMs: 0,
  nowMs: 10_000,
  known: new Set<string>(),
};

interface Row {
  key?: string;
  weakKey?: boolean;
  startedAtMs?: number;
  superseded?: boolean;
  parentId?: string | null;
  arm?: "stable" | "candidate";
  adapterDigest?: string;
  toolError?: boolean;
  finishReason?: string;
  subject?: string;
}

async function trajectory(id: string, row: Row = {}): Promise<void> {
  const { key = id, weakKey = false, startedAtMs = 100, arm = "candidate", adapterDigest = "sha256:c" } = row;
  const body = {
    assignment: { experimentId: "e", key, weakKey, arm, probability: 0.5, routeVersion: 3 },
    parentId: row.parentId ?? null,
    finishReason: row.finishReason ?? "stop",
    toolTimings: [{ isError: row.toolError ?? false }],
  };
  await database.kysely
    .insertInto("trajectories")
    .values({
      ...{ id, version: 1, conversation_id: `conversation-${id}`, conversation_key: `key-${id}`, tenant: "default", agent: "shop" },
      ...{
        subject: row.subject ?? null,
        started_at_ms: startedAtMs,
        ended_at_ms: startedAtMs + 50,
        adapter_digest: adapterDigest,
        experiment_id: "e",
      },
      ...{ content_hash: id, message_hashes: "[]", body: JSON.stringify(body), trainable: true, reasons: "[]" },
      superseded: row.superseded ?? false,
    })
    .execute();
  const times = { first_received_ms: 0, last_received_ms: 0, root_ended_ms: null };
  await database.kysely
    .insertInto("conversations")
    .values({
      ...{ id: `conversation-${id}`, tenant: "default", agent: "shop", key_kind: "conversation", key: `key-${id}`, state: "complete" },
      ...{ version: 1, ...times },
    } as never)
    .execute();
  await database.kysely
    .insertInto("conversation_traces")
    .values({ tenant: "default", trace_id: `trace-${id}`, conversation_id: `conversation-${id}` })
    .execute();
}

async function feedback(
  kind: "conversation" | "trace" | "subject",
  target: string,
  value: boolean | number | string,
  atMs = 500,
  name = "ok",
) {
  await database.kysely
    .insertInto("feedback")
    .values({
      ...{ tenant: "default", target_kind: kind, target, name, source: `source-${atMs}` },
      value: JSON.stringify({ value }),
      at_ms: atMs,
    })
    .execute();
}

test("units are first trajectories of strong keys in assignment order, with the latest outcome under any of their names", async () => {
  await trajectory("later", { startedAtMs: 300, arm: "stable" });
  await trajectory("first", { startedAtMs: 100, toolError: true });
  await trajectory("again", { startedAtMs: 200, key: "first" });
  await trajectory("weak", { weakKey: true });
  await trajectory("child", { parentId: "first" });
  await trajectory("old-version", { superseded: true });
  await trajectory("fell-back", { startedAtMs: 150, adapterDigest: "sha256:base", finishReason: "content_filter" });
  await trajectory("text-only", { startedAtMs: 400 });
  await feedback("conversation", "key-first", true, 500);
  await feedback("trace", "trace-first", false, 600);
  await feedback("trace", "trace-later", 0.25);
  await feedback("conversation", "conversation-fell-back", 7);
  await feedback("conversation", "key-text-only", "nice");
  await feedback("trace", "trace-fell-back", "nice", 700);
  await feedback("conversation", "key-later", true, 900, "another-feedback");

  const source = createUnitSource({ feedback: "ok", settleMs: 200 }, { database });
  const { units, settledBeforeMs } = await source.load(QUERY);
  expect(settledBeforeMs).toBe(9800);
  expect(units.map(({ trajectoryId, outcome }) => [trajectoryId, outcome])).toEqual([
    ["first", 0],
    ["fell-back", 1],
    ["later", 0.25],
    ["text-only", null],
  ]);
  expect(units[0]).toEqual({
    ...{
      key: expect.stringMatching(/^[0-9a-f]{32}$/),
      arm: "candidate",
      p: 0.5,
      routeVersion: 3,
      assignedAtMs: 100,
      endedAtMs: 150,
      trajectoryId: "first",
      outcome: 0,
    },
    errors: { tool_failure: true, refusal: false, fallback: false },
  });
  expect(units[1]?.errors).toEqual({ tool_failure: false, refusal: true, fallback: true });
  expect((await source.load({ ...QUERY, sinceMs: 300 })).units.map(({ trajectoryId }) => trajectoryId)).toEqual(["later", "text-only"]);
  expect((await source.load({ ...QUERY, experimentId: "other" })).units).toEqual([]);
});

test("what names the subject counts where nothing names the conversation, from its conversations' beginning on", async () => {
  for (const id of ["spoken-of", "silent"]) await trajectory(id, { startedAtMs: 5_000, subject: "customer-1" });
  await feedback("conversation", "key-spoken-of", true, 5_100);
  await feedback("subject", "customer-1", true, 4_999);
  await feedback("subject", "customer-1", false, 5_200);
  const { units } = await createUnitSource({ feedback: "ok", settleMs: 0 }, { database }).load({ ...QUERY, sinceMs: 5_000 });
  const outcomes = new Map(units.map(({ trajectoryId, outcome }) => [trajectoryId, outcome]));
  expect(outcomes).toEqual(
    new Map([
      ["silent", 0],
      ["spoken-of", 1],
    ]),
  );
});

test("an open conversation holds back what was assigned after it, but no longer than an outcome may take", async () => {
  const source = createUnitSource({ feedback: "ok", settleMs: 0 }, { database });
  const times = { first_received_ms: 9500, last_received_ms: 9900, root_ended_ms: null };
  await database.kysely
    .insertInto("conversations")
    .values({ id: "open", tenant: "default", agent: "shop", key_kind: "trace", key: "t", state: "open", version: 1, ...times } as never)
    .execute();
  expect((await source.load(QUERY)).settledBeforeMs).toBe(9500);
  expect((await source.load({ ...QUERY, nowMs: 10_600 })).settledBeforeMs).toBe(9600);
  expect((await source.load({ ...QUERY, agent: "other" })).settledBeforeMs).toBe(10_000);
  // What was assigned before the open conversation may have been heard of up to `settleMs` later than it.
  const slow = createUnitSource({ feedback: "ok", settleMs: 300 }, { database });
  expect((await slow.load(QUERY)).settledBeforeMs).toBe(9200);
});

test("a trajectory is read once, and again when it was written again; what the log knows is not asked for", async () => {
  const asked: string[] = [];
  const listening: KyselyPlugin = {
    transformQuery: ({ node }) => (asked.push(JSON.stringify(node)), node),
    transformResult: ({ result }) => Promise.resolve(result),
  };
  const watched = { ...database, kysely: database.kysely.withPlugin(listening) };
  const ids = Array.from({ length: UNITS_AT_ONCE + 3 }, (_, index) => `t-${String(index).padStart(4, "0")}`);
  for (const id of ids) await trajectory(id, { startedAtMs: 30_000 });
  const source = createUnitSource({ feedback: "ok", settleMs: 0 }, { database: watched });
  const query = { ...QUERY, sinceMs: 20_000, nowMs: 40_000 };
  const first = await source.load(query);
  expect(first.units.map(({ trajectoryId }) => trajectoryId)).toEqual(ids.slice(0, UNITS_AT_ONCE));
  const known = new Set(first.units.map(({ key }) => key));
  const rest = async () => (await source.load({ ...query, known })).units.map(({ trajectoryId, endedAtMs }) => [trajectoryId, endedAtMs]);
  asked.length = 0;
  expect(await rest()).toEqual(ids.slice(UNITS_AT_ONCE).map((id) => [id, 30_050]));
  expect(asked.filter((node) => node.includes("toolTimings"))).toEqual([]);
  const last = ids.at(-1) as string;
  await database.kysely.updateTable("trajectories").set({ ended_at_ms: 39_000 }).where("id", "=", last).execute();
  expect((await rest()).at(-1)).toEqual([last, 39_000]);
  await database.kysely.updateTable("trajectories").set({ superseded: true }).where("id", "=", last).execute();
  expect(await rest()).toHaveLength(2);
});
