import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { createAssembler } from "../../src/trajectory/assembler.ts";
import { noteArrivals } from "../../src/trajectory/conversation-store.ts";
import { type Feedback, feedbackOf, recordFeedback } from "../../src/trajectory/feedback.ts";
import { decodeSpans } from "../../src/trace/decode.ts";
import { protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
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
    attributes: { "gen_ai.conversation.id": "chat-1", "gen_ai.response.id": "resp-1", "user.id": "customer-9" },
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

test("what is said of a subject is said of the conversations that it had begun by then", async () => {
  const before = await read();
  await give({ targetKind: "subject", target: "customer-9", source: "survey", value: 3, atMs: START_MS - 1 });
  expect(await read()).toEqual(before);
  await give({ targetKind: "subject", target: "customer-9", source: "survey", value: 4, atMs: START_MS + 86_400_000 });
  await give({ targetKind: "subject", target: "customer-1", source: "somebody else", atMs: START_MS + 86_400_000 });
  expect(await read()).toEqual([...(before ?? []), expect.objectContaining({ targetKind: "subject", source: "survey", value: 4 })]);
});

test("a demonstration comes back as it was given", async () => {
  const value = { demonstration: [SIMPLE.question, SIMPLE.done] };
  await give({ name: "better", value, atMs: START_MS + 90_000_000 });
  expect((await read())?.at(-1)).toMatchObject({ name: "better", value });
});

describe("OpenInference", () => {
  const carry = async (id: string, attributes: Record<string, string | number>, links: object[] = []) => {
    const span = spanJson({
      ...{ traceId: traceId("judge"), spanId: spanId(id), attributes, links },
      endTimeUnixNano: String(BigInt(START_MS + 100_000_000) * 1_000_000n),
    });
    const [decoded] = decodeSpans(protobuf(traceRequest([span], { scope: "phoenix" })));
    if (decoded === undefined) throw new Error("the span decodes");
    const arrivals = { tenant: "default", spans: [decoded.value], logs: [], receivedAtMs: 3_000, storedAtMs: 3_000, agents: {} };
    await noteArrivals(database.kysely, arrivals);
    const rows = await database.kysely
      .selectFrom("feedback")
      .select(["target_kind", "target", "name", "source", "value"])
      .where("at_ms", "=", START_MS + 100_000_000)
      .orderBy("name")
      .execute();
    await database.kysely
      .deleteFrom("feedback")
      .where("at_ms", "=", START_MS + 100_000_000)
      .execute();
    return rows;
  };
  const judged = { traceId: traceId(), spanId: spanId("i1") };

  test("annotations speak of their span, its trace or its session; who judged is the identifier, else the kind of annotator, else the scope", async () => {
    const said = await carry("a", {
      "annotations.0.annotation.name": "a",
      "annotations.0.annotation.score": 1,
      "annotations.0.annotation.label": "hallucinated",
      "annotations.0.annotation.identifier": "judge-v2",
      "annotations.0.annotation.annotator_kind": "LLM",
      "annotations.7.annotation.name": "b",
      "annotations.7.annotation.label": "Fail",
      "annotations.7.annotation.explanation": "It was late.",
      "annotations.7.annotation.annotator_kind": "HUMAN",
      "trace.annotations.0.annotation.name": "c",
      "trace.annotations.0.annotation.explanation": "only words",
      "session.annotations.0.annotation.name": "d",
      "session.annotations.0.annotation.score": 0.5,
      "session.id": "chat-1",
    });
    const own = `${traceId("judge")}/${spanId("a")}`;
    expect(said).toEqual([
      { target_kind: "span", target: own, name: "a", source: "judge-v2", value: { value: 1 } },
      { target_kind: "span", target: own, name: "b", source: "human", value: { value: false, explanation: "It was late." } },
      { target_kind: "trace", target: traceId("judge"), name: "c", source: "phoenix", value: { value: "only words" } },
      { target_kind: "conversation", target: "chat-1", name: "d", source: "phoenix", value: { value: 0.5 } },
    ]);
  });

  test("evaluations speak of the span that is linked, whatever their parent; with no link or with two nobody knows of which", async () => {
    const attributes = {
      "openinference.span.kind": "EVALUATOR",
      "evaluations.0.evaluation.name": "a",
      "evaluations.0.evaluation.score": 0.25,
      "trace.evaluations.0.evaluation.name": "b",
      "trace.evaluations.0.evaluation.label": "pass",
    };
    expect(await carry("e1", attributes, [judged])).toEqual([
      { target_kind: "span", target: `${judged.traceId}/${judged.spanId}`, name: "a", source: "phoenix", value: { value: 0.25 } },
      { target_kind: "trace", target: judged.traceId, name: "b", source: "phoenix", value: { value: true } },
    ]);
    expect(await carry("e2", attributes)).toEqual([]);
    expect(await carry("e3", attributes, [judged, { ...judged, spanId: spanId("other") }])).toEqual([]);
  });

  test("what lacks a name or a result is none, and hostile indices cost nothing", async () => {
    const hostile = Object.fromEntries(
      Array.from({ length: 300 }, (_, at) => [`annotations.${at * 1_000_003}.annotation.name`, "x"] as const).flatMap(([key, name]) => [
        [key, name],
        [key.replace(".name", ".score"), 1],
      ]),
    );
    expect(await carry("h1", { "annotations.0.annotation.name": "a", "annotations.1.annotation.score": 1 })).toEqual([]);
    expect(await carry("h2", { "annotations.__proto__.annotation.name": "a", "annotations.0.annotation": "x", ...hostile })).toHaveLength(
      1,
    );
  });
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
