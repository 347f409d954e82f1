import { afterAll, beforeAll, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { createAssembler } from "../../src/trajectory/assembler.ts";
import { noteArrivals } from "../../src/trajectory/conversation-store.ts";
import { type Feedback, feedbackOf, recordFeedback } from "../../src/trajectory/feedback.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { SIMPLE, START_MS } from "./calls.ts";
import { chat, ingest, rootSpan, spanId, traceId } from "./ingest.ts";

const config = parseConfig({ agents: { shop: { model: "m", baseModel: "b" } } });
let database: Database;
let conversation: string;
const give = (more: Partial<Feedback>) =>
  recordFeedback(database.kysely, [
    {
      tenant: "default",
      targetKind: "conversation",
      target: "chat-1",
      name: "task_success",
      source: "user",
      value: true,
      atMs: 1_000,
      ...more,
    },
  ]);
const read = async () => (await feedbackOf(database.kysely, "default", [conversation])).get(conversation);

beforeAll(async () => {
  database = await memoryDatabase();
  const call = chat("i1", [0, 1], [SIMPLE.system, SIMPLE.question], [SIMPLE.done], {
    attributes: { "gen_ai.conversation.id": "chat-1", "gen_ai.response.id": "resp-1" },
  });
  await ingest(database, config.agents, [call, rootSpan([0, 2])], 1_000);
  const [made] = await createAssembler({ database, config, log: silentLog() }).sweep(100_000);
  conversation = made?.conversationId ?? "";
});
afterAll(() => database.close());

test("of one target, name and source the latest stays, whatever arrives last", async () => {
  await give({ value: true, atMs: 2_000 });
  await give({ value: false, atMs: 1_000 });
  expect(await read()).toMatchObject([{ value: true, atMs: 2_000 }]);
  await give({ value: "a better answer", explanation: "why", atMs: 3_000 });
  expect(await read()).toMatchObject([{ value: "a better answer", explanation: "why" }]);
});

test("feedback finds its conversation by id, key, trace, span and response; other tenants' does not", async () => {
  await give({ target: conversation, source: "by id", atMs: 4_000 });
  await give({ targetKind: "trace", target: traceId(), source: "by trace", atMs: 5_000 });
  await give({ targetKind: "span", target: `${traceId()}/${spanId("i1")}`, source: "by span", atMs: 6_000 });
  await give({ targetKind: "response", target: "resp-1", source: "by response", atMs: 7_000 });
  await give({ tenant: "other", source: "stranger" });
  await give({ target: "chat-2", source: "elsewhere" });
  expect((await read())?.map(({ source }) => source)).toEqual(["user", "by id", "by trace", "by span", "by response"]);
});

test("an evaluation event in the telemetry is feedback on its response, or on its span; a label of yes or no is one", async () => {
  const event = {
    traceId: traceId(),
    spanId: spanId("i1"),
    eventName: "gen_ai.evaluation.result",
    timeNs: BigInt(START_MS) * 1_000_000n,
    body: null,
    attributes: { "gen_ai.evaluation.name": "quality", "gen_ai.evaluation.score.value": 0.25, "gen_ai.response.id": "resp-1" },
    scope: { name: "evaluator", version: "" },
    resource: {},
  };
  const labelled = {
    ...event,
    timeNs: event.timeNs + 1_000_000n,
    attributes: { "gen_ai.evaluation.name": "policy", "gen_ai.evaluation.score.label": "Fail" },
  };
  await noteArrivals(database.kysely, {
    tenant: "default",
    spans: [],
    logs: [event, labelled, { ...event, attributes: {} }],
    receivedAtMs: 2_000,
    storedAtMs: 2_000,
    agents: {},
  });
  expect((await read())?.slice(-2)).toMatchObject([
    { name: "quality", value: 0.25, source: "evaluator", targetKind: "response", atMs: START_MS },
    { name: "policy", value: false, source: "evaluator", targetKind: "span", atMs: START_MS + 1 },
  ]);
});

test("whatever an event is called and whoever says so, it is stored: NUL, lone surrogates, more bytes than an index row has", async () => {
  const noise = (seed: number): string =>
    Array.from({ length: 3_000 }, (_, at) => String.fromCodePoint(0x4e00 + ((at * at * seed) % 20_000))).join("");
  const said = (more: Partial<Feedback>) => give({ tenant: "odd", ...more });
  await said({ source: "so\0urce", atMs: 8_000 });
  await said({ source: "\ud800", atMs: 9_000 });
  const long = { targetKind: "response", target: noise(3), name: noise(5), source: noise(7) } as const;
  await said({ ...long, atMs: 10_000 });
  await said({ ...long, value: false, atMs: 11_000 });
  await said({ ...long, source: `${noise(7)}!`, atMs: 10_000 });
  const rows = await database.kysely
    .selectFrom("feedback")
    .select(["source", "value"])
    .where("tenant", "=", "odd")
    .orderBy("at_ms")
    .execute();
  expect(rows.map(({ value }) => value)).toEqual([{ value: true }, { value: true }, { value: true }, { value: false }]);
  expect(rows.slice(0, 2).map(({ source }) => source)).toEqual(["so\uFFFDurce", "\uFFFD"]);
});
