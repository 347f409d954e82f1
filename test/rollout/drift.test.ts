import { describe, expect, it } from "vitest";
import { driftOf, driftSample, isChanged, type Reread } from "../../src/rollout/measure/drift.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { declaredProfile, type ToolProfile } from "../../src/trajectory/tool-profile.ts";
import { conversation, lookup, notFound, policyOf, refund, shopConfigs } from "./build.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = 100 * DAY;
/** `count` answers of this age, of which the first `changed` differ now. */
const rereads = (ageMs: number, count: number, changed: number): Reread[] =>
  Array.from({ length: count }, (_, place) => ({ ageMs, isChanged: place < changed }));
const limits = { freshnessMs: null, maxWrongShare: 0.2 };

describe("what changed, by age", () => {
  it("has the share and its Clopper–Pearson bounds", () => {
    const { byAge, asked, changed } = driftOf("t", { rereads: [...rereads(60_000, 20, 0), ...rereads(2 * DAY, 20, 1)], failed: 0 }, limits);
    expect({ asked, changed }).toEqual({ asked: 40, changed: 1 });
    expect(byAge).toEqual([
      // Of none in twenty: 1 − 0.05^(1/20).
      { fromMs: 0, toMs: HOUR, asked: 20, changed: 0, lowerBound: 0, upperBound: expect.closeTo(1 - 0.05 ** (1 / 20), 10) as number },
      {
        ...{ fromMs: DAY, toMs: 3 * DAY, asked: 20, changed: 1 },
        ...{ lowerBound: expect.closeTo(0.00256, 4) as number, upperBound: expect.closeTo(0.2161, 4) as number },
      },
    ]);
  });

  it("advises the freshness at which the changed ages begin", () => {
    // Lower bound of 15 in 25 is above 0.4, of all 30 in 50 that are older than a day too.
    const answers = [...rereads(2 * HOUR, 25, 1), ...rereads(2 * DAY, 25, 15), ...rereads(40 * DAY, 25, 15)];
    const drift = driftOf("t", { rereads: answers, failed: 2 }, limits);
    expect(drift).toMatchObject({ verdict: "drifts", advisedFreshnessMs: DAY, failed: 2, asked: 75, changed: 31 });
  });

  it.each([
    ["what the configuration does not serve any more", rereads(2 * DAY, 25, 0), rereads(40 * DAY, 40, 40), 7 * DAY, "holds"],
    ["a share that only may be too large", rereads(2 * DAY, 20, 6), [], null, "holds"],
    ["too few answers", rereads(2 * DAY, 19, 19), [], null, "unknown"],
    ["nothing", [], [], null, "unknown"],
  ] as const)("says nothing against %s", (_, some, more, freshnessMs, verdict) => {
    const drift = driftOf("t", { rereads: [...some, ...more], failed: 0 }, { ...limits, freshnessMs });
    expect(drift).toMatchObject({ verdict, advisedFreshnessMs: null });
  });

  it("leaves no freshness where even the youngest changed", () => {
    expect(driftOf("t", { rereads: rereads(60_000, 30, 20), failed: 0 }, limits).advisedFreshnessMs).toBe(1);
  });
});

describe("an answer that is asked for again", () => {
  const profile: ToolProfile = { ...declaredProfile("t", undefined), volatileResultPaths: ["at", "items.*.seq"] };
  const text = (value: unknown): string => JSON.stringify(value);
  it.each<[string, unknown, unknown, boolean]>([
    ["the same in another order", { a: 1, b: [1] }, { b: [1], a: 1 }, false],
    ["another value", { a: 1 }, { a: 2 }, true],
    ["a volatile value", { a: 1, at: 5, items: [{ seq: 1 }] }, { a: 1, at: 6, items: [{ seq: 2 }] }, false],
    ["one field more", { a: 1 }, { a: 1, b: 2 }, true],
    ["one field less", { a: 1, b: 2 }, { a: 1 }, true],
    ["another length", { a: [1, 2] }, { a: [1] }, true],
    ["another person, whom redaction took out", { a: "<email_abcdefgh>" }, { a: "x@y.z" }, false],
    ["a person whom the endpoint leaves out", { a: "call <phone_abcdefgh>", b: 1 }, { b: 1 }, false],
    ["a list in place of a table", { 0: 1 }, [1], true],
  ])("%s", (_, recorded, live, changed) => {
    expect(isChanged({ result: text(recorded), isError: false }, { result: text(live), isError: false }, profile)).toBe(changed);
  });

  it("has changed where only one of the two failed", () => {
    expect(isChanged({ result: "x", isError: false }, { result: "x", isError: true }, profile)).toBe(true);
  });
});

describe("which recordings are asked for again", () => {
  const config = parseConfig({ agents: { shop: { model: "m", baseModel: "b" } } }).agents["shop"] as AgentConfig;
  const sampled = (trajectories: readonly Trajectory[], count = 100, seed = 1, tool = "lookup_order") => {
    const recordings = createRecordings({
      ...{ trajectories, feedback: [], nowMs: NOW },
      config: { ...config, tools: shopConfigs },
    });
    const { pool } = recordings.cascade("train");
    return driftSample(tool, { tapes: recordings.selection.tapes, pool }, { nowMs: NOW, count, seed });
  };
  const names = (drifting: ReturnType<typeof sampled>): string[] => drifting.map(({ tape }) => tape.trajectoryId).toSorted();

  it("leaves out what somebody has written since, and keeps what was read after", () => {
    const before = conversation("before", [lookup("A1"), policyOf("x")], { startMs: NOW - 10 * DAY });
    const writer = conversation("writer", [refund("A1")], { startMs: NOW - 9 * DAY });
    const after = conversation("after", [lookup("A1", "delivered", true)], { startMs: NOW - 2 * DAY });
    const other = conversation("other", [lookup("B1"), notFound("Z1")], { startMs: NOW - 10 * DAY });
    expect(names(sampled([before, writer, after, other]))).toEqual(["after", "other", "other"]);
    expect(sampled([before, writer, after, other], 100, 1, "issue_refund").every(({ entry }) => entry.writeKey === null)).toBe(true);
  });

  it("leaves out arguments that name somebody by a pseudonym", () => {
    const overrides = { pseudonyms: { "<email_1>": "<email_abcdefgh>" } };
    const who = conversation("who", [lookup("<email_1>"), lookup("A1")], { startMs: NOW - DAY, overrides });
    expect(sampled([who]).map(({ entry }) => entry.argumentsCanonical)).toEqual(['{"order_id":"A1"}']);
  });

  it("takes one of each call and age, every age alike, the same for the same seed", () => {
    const old = Array.from({ length: 40 }, (_, place) =>
      conversation(`old${place}`, [lookup(`O${place}`)], { startMs: NOW - 40 * DAY - place * HOUR }),
    );
    const young = Array.from({ length: 3 }, (_, place) => conversation(`young${place}`, [lookup(`Y${place}`)], { startMs: NOW - 2 * DAY }));
    const same = Array.from({ length: 9 }, (_, place) => conversation(`same${place}`, [lookup("S")], { startMs: NOW - 10 * DAY }));
    const sample = sampled([...old, ...young, ...same], 10);
    expect(Object.fromEntries(Map.groupBy(names(sample), (name) => name.replace(/\d+/, "")))).toMatchObject({
      old: { length: 6 },
      young: { length: 3 },
      same: { length: 1 },
    });
    expect(names(sampled([...old, ...young, ...same].toReversed(), 10))).toEqual(names(sample));
    expect(names(sampled([...old, ...young, ...same], 10, 2))).not.toEqual(names(sample));
  });
});
