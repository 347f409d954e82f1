import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { importWorld, type ImportWorld } from "./world.ts";

let world: ImportWorld;
beforeAll(async () => {
  world = await importWorld();
});
afterEach(() => world.clear());
afterAll(() => world.close());

const TRACE = { id: "t-1", timestamp: "2026-02-01T09:00:00.000Z", name: "support" };
const ANSWER = {
  id: "g",
  traceId: TRACE.id,
  type: "GENERATION",
  startTime: TRACE.timestamp,
  input: [{ role: "user", content: "Where is A1?" }],
  output: { role: "assistant", content: "At the depot." },
};
const given = { traceId: TRACE.id, timestamp: "2026-02-02T00:00:00Z", source: "API" };
/** A category has a number only where its config gives it one. */
const SCORES = [
  { ...given, id: "s1", name: "tone", dataType: "CATEGORICAL", stringValue: "polite", observationId: "g" },
  { ...given, id: "s2", name: "outcome", dataType: "CATEGORICAL", value: 2, stringValue: "solved", configId: "c" },
  { ...given, id: "s3", name: "note", dataType: "TEXT", stringValue: "A short answer." },
  { ...given, id: "s4", name: "length", dataType: "CATEGORICAL", value: "short" },
  { ...given, id: "s5", name: "resolved", dataType: "BOOLEAN", stringValue: "True" },
];
const FEEDBACK = [
  { name: "length", target_kind: "trace", value: { value: "short" } },
  { name: "note", target_kind: "trace", value: { value: "A short answer." } },
  { name: "outcome", target_kind: "trace", value: { value: "solved" } },
  { name: "resolved", target_kind: "trace", value: { value: true } },
  { name: "tone", target_kind: "span", value: { value: "polite" } },
];

async function feedbackOf(...records: object[]): Promise<unknown[]> {
  const lines = records.map((record) => JSON.stringify(record)).join("\n");
  expect(await world.run([world.file("scored.jsonl", lines), "--consent", "true"])).toMatchObject({ code: 0, err: "" });
  expect(await world.trajectories()).toHaveLength(1);
  return world.database.kysely.selectFrom("feedback").select(["name", "target_kind", "value"]).orderBy("name").execute();
}

test("categories and texts are feedback, beside their trace and in it", async () => {
  expect(await feedbackOf({ ...TRACE, observations: [ANSWER] }, ...SCORES)).toEqual(FEEDBACK);
  await world.clear();
  expect(await feedbackOf({ ...TRACE, observations: [ANSWER], scores: SCORES })).toEqual(FEEDBACK);
});

test("scores in a trace from before they had types", async () => {
  const untyped = [
    { ...given, id: "s1", name: "stars", value: 3 },
    { ...given, id: "s2", name: "tone", stringValue: "polite" },
  ];
  expect(await feedbackOf({ ...TRACE, observations: [ANSWER], scores: untyped })).toMatchObject([
    { name: "stars", value: { value: 3 } },
    { name: "tone", value: { value: "polite" } },
  ]);
});
