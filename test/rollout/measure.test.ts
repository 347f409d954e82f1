import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { createCascade } from "../../src/rollout/cascade/cascade.ts";
import { measuredTrust, type RungRecord } from "../../src/rollout/cascade/trust.ts";
import { lowerBound, upperBound } from "../../src/rollout/measure/binomial.ts";
import { measureFidelity, type ToolFidelity } from "../../src/rollout/measure/measure.ts";
import { tapeIdOf } from "../../src/trajectory/record-tape.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { cascadeFor, conversation, lookup, play, policyOf, refund, refundFails, type Step } from "./build.ts";

const HOUR = 3_600_000;
const options = { seed: 1, maxTapes: 100, maxWrongShare: 0.2, maxMisjudgedShare: 0.5 };
const measured = (trajectories: readonly Trajectory[], overrides: Partial<typeof options> = {}): ToolFidelity[] =>
  measureFidelity({ trajectories, pool: cascadeFor(trajectories).pool }, { ...options, ...overrides });
const toolOf = (tools: readonly ToolFidelity[], tool: string): ToolFidelity => {
  const found = tools.find((one) => one.tool === tool);
  if (found === undefined) throw new Error(`${tool} was not measured`);
  return found;
};
const tape = (hour: number, ...steps: readonly Step[]): Trajectory => conversation(`c${hour}`, steps, { startMs: hour * HOUR });
const record = (change: Partial<RungRecord>): RungRecord => ({ rung: "R3", served: 80, wrong: 8, refused: false, ...change });

describe("the bounds of a share", () => {
  it.each([
    // Of none wrong: 1 − 0.05^(1/n).
    { wrong: 0, served: 10, upper: 1 - 0.05 ** (1 / 10), lower: 0 },
    // Tables of Clopper and Pearson.
    { wrong: 1, served: 20, upper: 0.2161, lower: 0.00256 },
    { wrong: 10, served: 100, upper: 0.1637, lower: 0.05526 },
    { wrong: 3, served: 3, upper: 1, lower: 0.05 ** (1 / 3) },
    { wrong: 0, served: 0, upper: 1, lower: 0 },
  ])("$wrong of $served", ({ wrong, served, upper, lower }) => {
    expect(upperBound(wrong, served)).toBeCloseTo(upper, 4);
    expect(lowerBound(wrong, served)).toBeCloseTo(lower, 4);
  });

  it("holds for counts whose powers are no doubles", () => {
    expect(upperBound(1_000, 100_000)).toBeCloseTo(0.01053, 4);
  });

  test.prop([fc.integer({ min: 0, max: 400 }), fc.integer({ min: 1, max: 400 })])("contains the share", (some, served) => {
    const wrong = Math.min(some, served);
    expect(lowerBound(wrong, served)).toBeLessThanOrEqual(wrong / served);
    expect(upperBound(wrong, served)).toBeGreaterThanOrEqual(wrong / served);
  });
});

describe("measureFidelity", () => {
  it("asks every conversation's calls without its own tape", () => {
    const tools = measured([tape(1, lookup("A1"), policyOf("lamp")), tape(2, lookup("A1"), policyOf("lamp")), tape(3, lookup("A1"))]);
    const bound = { upperBound: expect.closeTo(1 - 0.05 ** (1 / 3), 10) as number, lowerBound: 0 };
    expect(toolOf(tools, "lookup_order")).toEqual({
      tool: "lookup_order",
      calls: 3,
      missed: 0,
      rungs: [{ rung: "R3", served: 3, wrong: 0, misjudged: 0, ...bound, refused: false }],
      falseSuccess: { errors: 0, asSuccess: 0, upperBound: 1 },
    });
    expect(toolOf(tools, "refund_policy").rungs).toMatchObject([{ rung: "R0", served: 2, wrong: 0 }]);
  });

  it("counts an answer that somebody's unseen write made untrue as wrong, and refuses the rung for it", () => {
    const tools = measured([tape(1, lookup("A1")), tape(2, lookup("A1")), tape(3, lookup("A1", "lost"))]);
    // Each is told the newest of the others: twice `lost` for `delivered`, once the other way round. Of three wrong, at least 0.05^(1/3) is.
    expect(toolOf(tools, "lookup_order").rungs).toEqual([
      { rung: "R3", served: 3, wrong: 3, misjudged: 0, upperBound: 1, lowerBound: expect.closeTo(0.3684, 4) as number, refused: true },
    ]);
  });

  it("does not ask where no other tape is of the same task", () => {
    const alone = conversation("alone", [lookup("A1")], { says: "quite another thing that nobody else wants", startMs: 1 });
    expect(measured([alone, conversation("too", [lookup("A1")], { says: "where did my parcel go this time", startMs: 2 })])).toEqual([]);
  });

  it("tells a write's recorded error that was answered with a success", () => {
    const fine = ["A2", "A3", "A4", "A5"].map((id, place) => tape(place + 1, lookup(id), refund(id)));
    const tool = toolOf(measured([...fine, tape(9, lookup("A9"), refundFails("A9"))]), "issue_refund");
    // Without the fifth tape nobody has seen a refund fail.
    expect(tool.falseSuccess).toMatchObject({ errors: 1, asSuccess: 1 });
    expect(tool.rungs.find(({ rung }) => rung === "R4")).toMatchObject({ served: 1, wrong: 1, misjudged: 1 });
  });

  it("does not take a write off its rung for ids that nobody declared to differ", () => {
    const numbered = (id: string): Step => ({ ...refund(id), result: { order_id: id, refund_id: `R-${id}` } });
    const tapes = Array.from({ length: 12 }, (_, place) => tape(place, lookup(`A${place}`), numbered(`A${place}`)));
    const shown = (places: Step["result"]): unknown => ({ ...(places as object), refund_id: "R-77" });
    const other = Array.from({ length: 12 }, (_, place) => {
      const step = numbered(`B${place}`);
      return tape(place + 20, lookup(`B${place}`), place % 2 === 0 ? step : { ...step, result: shown(step.result) });
    });
    const [rung] = toolOf(measured([...tapes, ...other]), "issue_refund").rungs;
    // That it succeeds is certain, what it says is not: the models disagree.
    expect(rung).toMatchObject({ rung: "R5", served: 24, misjudged: 0, refused: false });
    expect(rung?.wrong).toBeGreaterThan(5);
  });

  it("lets the own tape say what the conversation had seen, and answer nothing", () => {
    const refused = ["A2", "A3", "A4"].map((id, place) => tape(place + 1, lookup(id, "delivered", true), refundFails(id)));
    const fine = ["B2", "B3", "B4"].map((id, place) => tape(place + 5, lookup(id), refund(id)));
    const tool = toolOf(measured([...refused, ...fine]), "issue_refund");
    // Only the lookup before it tells an order that was refunded from one that was not; two other tapes of each kind make it a rule.
    expect(tool).toMatchObject({ calls: 6, rungs: [{ rung: "R4", served: 6, wrong: 0 }], falseSuccess: { errors: 3, asSuccess: 0 } });
  });

  it("gives a made-up write up only where its outcome surely is wrong too often", () => {
    // Two refunds of 120 failed, and nothing tells why: it hardly ever fails, so a success is hoped for at R5, wrong both times.
    const tapes = Array.from({ length: 120 }, (_, hour) => {
      const id = `D${hour}`;
      return tape(hour, lookup(id), hour % 60 === 7 ? refundFails(id) : refund(id));
    });
    const madeUp = (maxMisjudgedShare: number) =>
      toolOf(measured(tapes, { maxMisjudgedShare, maxTapes: 120 }), "issue_refund").rungs.find(({ rung }) => rung === "R5");
    const { served = 0, misjudged = 0 } = madeUp(1) ?? {};
    expect(misjudged).toBe(2);
    const surely = lowerBound(misjudged, served);
    expect(madeUp(surely - 0.001)?.refused).toBe(true);
    expect(madeUp(surely + 0.001)?.refused).toBe(false);
  });

  it("leaves out as many tapes as it may, always the same ones", () => {
    const tapes = Array.from({ length: 30 }, (_, hour) => tape(hour, lookup("A1")));
    expect(toolOf(measured(tapes, { maxTapes: 12 }), "lookup_order").calls).toBe(12);
    const mixed = [
      ...tapes,
      ...Array.from({ length: 30 }, (_, hour) => tape(hour + 30, lookup(`A${hour % 5}`, hour % 2 ? "lost" : "sent"))),
    ];
    expect(measured(mixed.toReversed(), { maxTapes: 20 })).toEqual(measured(mixed, { maxTapes: 20 }));
    expect(measured(mixed, { maxTapes: 20, seed: 2 })).not.toEqual(measured(mixed, { maxTapes: 20 }));
  });
});

describe("measured trust", () => {
  it("moves a rung's own confidence by what was counted", () => {
    const trust = measuredTrust([{ tool: "t", rungs: [record({}), record({ rung: "R4", served: 19, wrong: 19 })] }]);
    // 1 − (20 · 0.03 + 8) / (20 + 80)
    expect(trust.confidenceOf("t", "R3", 0.97)).toBeCloseTo(0.914, 12);
    expect(trust.confidenceOf("t", "R4", 0.9)).toBe(0.9);
    expect(trust.confidenceOf("other", "R3", 0.97)).toBe(0.97);
  });

  const others = [tape(1, lookup("A1"), refund("B1")), tape(2, refund("B2")), tape(3, refund("B3"))];
  const own = tape(9, policyOf("lamp"), lookup("B4"));
  const trusting = (tool: string, change: Partial<RungRecord>) => {
    const { pool } = cascadeFor([...others, own]);
    const trust = measuredTrust([{ tool, rungs: [record(change)] }]);
    return createCascade(pool, [...others, own].map(tapeIdOf), { trust });
  };

  it("is in the answers of other tapes, not in those of the own", () => {
    const [recorded, pooled] = play(trusting("lookup_order", {}), own, [lookup("B4"), lookup("A1")]);
    expect(recorded).toMatchObject({ rung: "R1", confidence: 1 });
    // Nobody has seen yet that such a read lasts: 1 − (20 · 0.15 + 8) / (20 + 80)
    expect(pooled).toMatchObject({ rung: "R3", confidence: expect.closeTo(0.89, 12) as number });
  });

  it("takes a tool off a rung, and the next one answers or nobody", () => {
    expect(play(trusting("lookup_order", { refused: true }), own, [lookup("A1")])).toMatchObject([{ rung: "R7", result: null }]);
    expect(play(trusting("issue_refund", {}), own, [lookup("B4"), refund("B4")])[1]).toMatchObject({ rung: "R4", confidence: 0.85 });
    expect(play(trusting("issue_refund", { rung: "R4", refused: true }), own, [lookup("B4"), refund("B4")])[1]).toMatchObject({
      rung: "R5",
      confidence: 0.6,
      isError: false,
    });
  });
});
