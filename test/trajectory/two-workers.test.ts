import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { type Assembler, createAssembler } from "../../src/trajectory/assembler.ts";
import { takeDue } from "../../src/trajectory/due-conversations.ts";
import type { Examiner } from "../../src/trajectory/examine.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { say, SIMPLE } from "./calls.ts";
import { chat, ingest, rootSpan } from "./ingest.ts";

/** Two workers of ingest over one store: what each of them reads, assembles and examines, and what becomes of what one has taken when it dies. */
const config = parseConfig({
  capture: { graceMs: 1_000, idleMs: 10_000, maxAgeMs: 100_000 },
  agents: { shop: { model: "shop-model", baseModel: "b", match: { serviceName: "shop" } } },
});
const CONVERSATIONS = 250;
let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());
beforeEach(async () => {
  for (const table of ["spans", "conversations", "conversation_traces", "messages", "trajectories"] as const) {
    await database.kysely.deleteFrom(table).execute();
  }
  const spans = Array.from({ length: CONVERSATIONS }, (_, n) =>
    [chat("i1", [0, 1], [SIMPLE.system, say("user", `question ${n}`)], [SIMPLE.done]), rootSpan([0, 5])].map((span) => ({
      ...span,
      trace: `t${n}`,
    })),
  );
  await ingest(database, config.agents, spans.flat(), 1_000);
});

/** A worker, and how many conversations it has worked on. */
function worker(refuses = () => false): Assembler & { worked: () => number } {
  let worked = 0;
  const examiner: Examiner = {
    examine(conversations) {
      if (refuses()) return Promise.reject(nightshiftError("detector_unavailable", { url: "u", problem: "HTTP 503" }));
      worked += conversations.length;
      return Promise.resolve(conversations.map(({ calls }) => [...calls]));
    },
  };
  return { ...createAssembler({ database, config, log: silentLog(), examiner }), worked: () => worked };
}

test("each conversation is one worker's work", async () => {
  const [one, other] = [worker(), worker()];
  const made = await Promise.all([one.sweep(2_000), other.sweep(2_000)]);
  expect(made.flat().map(({ conversationId }) => conversationId).length).toBe(CONVERSATIONS);
  expect(new Set(made.flat().map(({ conversationId }) => conversationId)).size).toBe(CONVERSATIONS);
  expect(one.worked() + other.worked()).toBe(CONVERSATIONS);
  expect(Math.min(one.worked(), other.worked())).toBeGreaterThan(0);
});

test("what a worker had taken when it was killed is taken by others a while later, or with the next delivery", async () => {
  const taken = await takeDue(database.kysely, { nowMs: 2_000, after: "", limit: 100, limits: config.capture });
  expect(taken.map(({ id }) => id)).toEqual(taken.map(({ id }) => id).toSorted());
  const other = worker();
  expect(await other.sweep(2_000)).toHaveLength(CONVERSATIONS - 100);
  expect(await other.sweep(11_999)).toEqual([]);
  const { key } = taken[0] ?? { key: "" };
  const trace = Buffer.from(key, "hex").toString().replaceAll("\0", "");
  await ingest(database, config.agents, [{ ...rootSpan([0, 6]), trace }], 2_500);
  expect(await other.sweep(3_500)).toHaveLength(1);
  expect(await other.sweep(12_000)).toHaveLength(99);
  expect(other.worked()).toBe(CONVERSATIONS);
});

test("a worker that is stopped in the middle of a batch sets none of it aside: the next one takes all", async () => {
  const stopping = new AbortController();
  const examiner: Examiner = {
    examine(_, { signal } = {}) {
      stopping.abort();
      signal?.throwIfAborted();
      return Promise.reject(new Error("the signal did not reach the examiner"));
    },
  };
  const stopped = createAssembler({ database, config, log: silentLog(), examiner });
  await expect(stopped.sweep(2_000, { signal: stopping.signal })).rejects.toMatchObject({ name: "AbortError" });
  expect(await worker().sweep(2_000)).toHaveLength(CONVERSATIONS);
});

test("a worker that cannot go on gives back what it had taken", async () => {
  const stuck = worker(() => true);
  await expect(stuck.sweep(2_000)).rejects.toMatchObject({ code: "detector_unavailable" });
  expect(await worker().sweep(2_000)).toHaveLength(CONVERSATIONS);
});
