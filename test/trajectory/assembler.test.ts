import { fc, test as propertyTest } from "@fast-check/vitest";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { reportOf } from "../../src/api/report.ts";
import { type Assembler, createAssembler } from "../../src/trajectory/assembler.ts";
import { ASSIGNMENT_SPAN } from "../../src/telemetry.ts";
import { funnelOf } from "../../src/trajectory/funnel.ts";
import { listTrajectories, loadTrajectories, loadTrajectory } from "../../src/trajectory/trajectory-store.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { say, SIMPLE } from "./calls.ts";
import { chat, ingest, rootSpan, type SentSpan, spanId, toolSpan, traceId } from "./ingest.ts";

const config = parseConfig({
  capture: { graceMs: 1_000, idleMs: 10_000, maxAgeMs: 100_000 },
  agents: { shop: { model: "shop-model", baseModel: "b", match: { serviceName: "shop" } } },
});
const { system, question, lookup, found, done } = SIMPLE;
const FIRST = chat("i1", [100, 1_000], [system, question], [lookup]);
const TOOL = toolSpan("x1", [1_100, 1_500], "lookup", "c1");
const LAST = chat("i2", [1_600, 2_500], [system, question, lookup, found], [done]);
const ROOT = rootSpan([0, 3_000], { attributes: { "user.id": "user-7" } });
const WHOLE = [FIRST, TOOL, LAST, ROOT];

let database: Database;
let assembler: Assembler;
beforeAll(async () => {
  database = await memoryDatabase();
  assembler = createAssembler({ database, config, log: silentLog() });
});
afterAll(() => database.close());
const clear = async () => {
  for (const table of [
    "spans",
    "log_events",
    "conversations",
    "conversation_traces",
    "messages",
    "trajectories",
    "tool_schemas",
    "feedback",
  ] as const) {
    await database.kysely.deleteFrom(table).execute();
  }
};
beforeEach(clear);

const send = (spans: readonly SentSpan[], atMs = 1_000) => ingest(database, config.agents, spans, atMs);
const live = () => listTrajectories(database.kysely, { tenant: "default" });

describe("an announced conversation", () => {
  const conversation = { "gen_ai.conversation.id": "chat-1" };
  const announced: SentSpan = { id: "a", trace: "2", name: ASSIGNMENT_SPAN, at: [50, 50], attributes: conversation };
  const root = rootSpan([0, 3_000], { attributes: conversation });

  test("is open from the announcement on, and is over when its root is", async () => {
    await send([announced], 1_000);
    expect(await assembler.sweep(5_000)).toEqual([]);
    expect(await funnelOf(database.kysely, { tenant: "default" })).toMatchObject({ captured: 1, complete: 0 });
    await send([FIRST, TOOL, LAST, root], 6_000);
    expect(await assembler.sweep(6_999)).toEqual([]);
    expect(await assembler.sweep(7_000)).toMatchObject([{ conversationKey: "chat-1", verdict: { trainable: true } }]);
  });

  test("announced in the agent's own trace, it waits for that trace's root", async () => {
    await send([{ ...announced, trace: "1", parent: "root" }], 1_000);
    expect(await assembler.sweep(5_000)).toEqual([]);
    await send([FIRST, TOOL, LAST, root], 6_000);
    expect(await assembler.sweep(7_000)).toHaveLength(1);
  });
});

describe("sweep", () => {
  test("a complete conversation becomes one trainable trajectory, once; it loads as it was made", async () => {
    await send(WHOLE);
    expect(await assembler.sweep(1_999)).toEqual([]);
    const created = await assembler.sweep(2_000);
    expect(created).toMatchObject([
      { version: 1, agent: "shop", subject: "user-7", verdict: { trainable: true, reasons: [] }, messages: SIMPLE.transcript },
    ]);
    expect(await assembler.sweep(50_000)).toEqual([]);
    const id = created[0]?.id ?? "";
    expect(await loadTrajectory(database.kysely, id)).toEqual(created[0]);
    expect(
      await loadTrajectories(database.kysely, [
        { id, version: 1 },
        { id: "none", version: 1 },
      ]),
    ).toEqual(created);
  });

  test("a late span makes version 2 and supersedes version 1; the same spans again change nothing", async () => {
    await send([FIRST, TOOL, ROOT]);
    const first = await assembler.sweep(2_000);
    expect(first[0]?.verdict.reasons).toEqual(["tool_result_missing"]);
    await send([LAST], 3_000);
    const second = await assembler.sweep(4_000);
    expect(second).toMatchObject([{ id: first[0]?.id, version: 2, verdict: { trainable: true } }]);
    expect((await live()).items.map(({ version }) => version)).toEqual([2]);
    await send(WHOLE, 5_000);
    expect(await assembler.sweep(90_000)).toEqual([]);
    expect(await loadTrajectory(database.kysely, first[0]?.id ?? "", 1)).toMatchObject({
      version: 1,
      messages: [system, question, lookup],
    });
  });

  test("a late refusal of consent changes the verdict without a new version", async () => {
    await send(WHOLE);
    const [made] = await assembler.sweep(2_000);
    await send([{ id: "late", parent: "root", at: [10, 20], attributes: { "nightshift.consent": false } }], 3_000);
    expect(await assembler.sweep(4_000)).toEqual([]);
    expect(await loadTrajectory(database.kysely, made?.id ?? "")).toMatchObject({
      version: 1,
      verdict: { trainable: false, reasons: ["no_consent"] },
    });
  });

  test("a dangling tool call waits for idleness, and any arrival ends the wait", async () => {
    await send([FIRST, ROOT]);
    expect(await assembler.sweep(2_000)).toEqual([]);
    expect(await assembler.sweep(10_999)).toEqual([]);
    await send([TOOL, LAST], 3_000);
    expect(await assembler.sweep(4_000)).toHaveLength(1);
  });

  test("a delivery during a sweep is not lost: the conversation is left for the next one, or opened again", async () => {
    await send([FIRST, TOOL, ROOT]);
    const [during] = await Promise.all([assembler.sweep(2_000), send([LAST])]);
    // The embedded database always lets the delivery come between reading and saving; a server may let the sweep finish first.
    expect(await assembler.sweep(2_000)).toMatchObject([{ version: 1 + during.length, messages: SIMPLE.transcript }]);
  });

  test("turns in traces of their own with one conversation id are one conversation, and wait for every root", async () => {
    const turn = (trace: string, id: string): Partial<SentSpan> => ({
      trace,
      parent: `root${trace}`,
      attributes: { "gen_ai.conversation.id": "chat-1" },
      id,
    });
    const more = say("user", "Refund it?");
    await send([chat("i1", [0, 1], [system, question], [done], turn("a", "i1")), { id: "roota", trace: "a", at: [0, 2] }]);
    await send([chat("i2", [10, 11], [system, question, done, more], [say("assistant", "Yes.")], turn("b", "i2"))]);
    expect(await assembler.sweep(5_000)).toEqual([]);
    await send([{ id: "rootb", trace: "b", at: [9, 12] }], 6_000);
    const created = await assembler.sweep(7_000);
    expect(created).toMatchObject([{ conversationKey: "chat-1", usage: { calls: 2 } }]);
    expect(created[0]?.messages).toHaveLength(5);
  });

  test("a trace whose conversation id shows up late moves there, and what was made of it alone is superseded", async () => {
    await send([FIRST, TOOL, ROOT]);
    const [alone] = await assembler.sweep(2_000);
    await send([{ ...LAST, attributes: { ...LAST.attributes, "gen_ai.conversation.id": "chat-9" } }], 3_000);
    const [moved] = await assembler.sweep(4_000);
    expect(alone?.conversationKey).toBe(traceId());
    expect(moved).toMatchObject({ conversationKey: "chat-9", version: 1 });
    // The row of the trace that it began as is no conversation any more.
    const { keys } = await reportOf(database.kysely, { tenant: "default", agent: moved?.agent ?? "" });
    expect(keys).toEqual([{ kind: "conversation", conversations: 1 }]);
    expect((await live()).items.map(({ id }) => id)).toEqual([moved?.id]);
  });

  test("spans of no known agent end as a verdict; a trace without any model call ends as nothing", async () => {
    await ingest(database, {}, WHOLE, 1_000);
    await ingest(database, config.agents, [{ id: "job", trace: "cron", at: [0, 1] }], 1_000);
    const stranger = createAssembler({ database, config: { ...config, agents: {} }, log: silentLog() });
    expect(await stranger.sweep(2_000)).toMatchObject([{ agent: "unknown", verdict: { reasons: ["unknown_agent"] } }]);
    expect(await funnelOf(database.kysely, { tenant: "default" })).toEqual({
      captured: 1,
      complete: 1,
      trainable: 0,
      reasons: { unknown_agent: 1 },
    });
  });

  test("schemas learned from one conversation mend another that has none", async () => {
    await send(WHOLE);
    await assembler.sweep(2_000);
    const bare = (span: SentSpan): SentSpan => {
      const { "gen_ai.tool.definitions": _, ...attributes } = span.attributes ?? {};
      return { ...span, trace: "2", attributes };
    };
    await send(WHOLE.map(bare), 3_000);
    const [mended] = await assembler.sweep(4_000);
    expect(mended).toMatchObject({ verdict: { trainable: true } });
    expect(mended?.tools?.map(({ name }) => name)).toEqual(["lookup", "refund"]);
  });

  test("text that Postgres refuses does not stop the batch", async () => {
    const hostile = say("user", "NUL \0 and half \ud83d of a pair");
    await send([
      chat("i1", [0, 1], [system, hostile], [done], {
        attributes: { "gen_ai.agent.name": "a\0b", "user.id": "u\0", "gen_ai.response.id": "r\0" },
      }),
      ROOT,
    ]);
    const [made] = await assembler.sweep(2_000);
    expect((await loadTrajectory(database.kysely, made?.id ?? ""))?.messages).toHaveLength(3);
  });
});

describe("lists", () => {
  test("pages hold each trajectory once, newest first, by filter", async () => {
    const conversation = (n: number): SentSpan[] =>
      [
        chat("i1", [n * 100, n * 100 + 1], [system, say("user", `question ${n}`)], [done]),
        rootSpan([0, 5], { attributes: { "user.id": `user-${n % 3}` } }),
      ].map((span) => ({
        ...span,
        trace: `t${n}`,
      }));
    await send(Array.from({ length: 250 }, (_, n) => conversation(n)).flat());
    expect(await assembler.sweep(2_000)).toHaveLength(250);
    const seen: number[] = [];
    for (let cursor: string | null = ""; cursor !== null;) {
      const page = await listTrajectories(database.kysely, { tenant: "default", agent: "shop", trainable: true, limit: 60, cursor });
      seen.push(...page.items.map(({ endedAtMs }) => endedAtMs));
      cursor = page.next;
    }
    expect(seen).toHaveLength(250);
    expect(seen).toEqual(seen.toSorted((a, b) => b - a));
    expect((await listTrajectories(database.kysely, { tenant: "default", subject: "user-1", limit: 1_000 })).items).toHaveLength(83);
    expect((await listTrajectories(database.kysely, { tenant: "other" })).items).toEqual([]);
    expect(await funnelOf(database.kysely, { tenant: "default", agent: "shop" })).toEqual({
      captured: 250,
      complete: 250,
      trainable: 250,
      reasons: {},
    });
  });
});

const deliveries = fc.record({
  order: fc.shuffledSubarray(WHOLE, { minLength: WHOLE.length }),
  cuts: fc.array(fc.nat(3), { maxLength: 2 }),
  again: fc.subarray(WHOLE),
});
propertyTest.prop([deliveries], { numRuns: 12 })(
  "any order, split and repetition of deliveries ends in the same trajectory",
  async ({ order, cuts, again }) => {
    await clear();
    const bounds = [0, ...cuts.toSorted((a, b) => a - b), order.length];
    for (const [index, start] of bounds.slice(0, -1).entries()) await send(order.slice(start, bounds[index + 1]), 1_000 + index);
    await send(again, 1_500);
    await assembler.sweep(20_000);
    const { items } = await live();
    expect(items).toMatchObject([{ verdict: { trainable: true }, messageCount: 5, subject: "user-7" }]);
    expect(items[0]?.spans.map((span) => span.spanId)).toEqual(["i1", "i2", "x1"].map(spanId));
  },
);

test("one request with more conversations than one statement takes", async () => {
  const spans = Array.from({ length: 5_500 }, (_, index) => rootSpan([0, 1], { trace: `m${index}` }));
  await send(spans);
  const open = await database.kysely.selectFrom("conversations").select("id").where("state", "=", "open").execute();
  expect(open).toHaveLength(5_500);
}, 60_000);

test("a conversation that cannot be assembled is set aside and told of; the others are not held back", async () => {
  // A database that refuses what one conversation would write: nothing that we know of makes this happen, and what we do not know of must not stop the rest.
  await sql`create function refuse_poison() returns trigger language plpgsql as $$ begin
    if new.conversation_key = 'poison' then raise exception 'refused' using errcode = '22021'; end if; return new; end $$`.execute(
    database.kysely,
  );
  await sql`create trigger poison before insert on trajectories for each row execute function refuse_poison()`.execute(database.kysely);
  const named = (key: string, trace: string) =>
    WHOLE.map((span) => ({ ...span, trace, attributes: { ...span.attributes, "gen_ai.conversation.id": key } }));
  for (const [index, key] of ["good-1", "poison", "good-2"].entries()) await send(named(key, `p${index}`));
  const keys = async (nowMs: number) => (await assembler.sweep(nowMs)).map(({ conversationKey }) => conversationKey).toSorted();
  expect(await keys(50_000)).toEqual(["good-1", "good-2"]);
  expect(await keys(51_000)).toEqual([]);
  await sql`drop trigger poison on trajectories`.execute(database.kysely);
  expect(await keys(51_000)).toEqual([]);
  expect(await keys(50_000 + 3_600_000)).toEqual(["poison"]);
});
