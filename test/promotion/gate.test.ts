import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { decideGate, gateWealth, unitsNeeded, type GatePair, type GateParameters } from "../../src/promotion/gate.ts";

const IMPROVE: GateParameters = { mode: "improve", alpha: 0.05, margin: 0.06, maxMaskedShare: 0.2 };
const NON_INFERIOR: GateParameters = { ...IMPROVE, mode: "non-inferior" };

const won = (id: number): GatePair => judged(id, { x: 1, firstSlotWins: 1, ordersAgree: true });
const lost = (id: number): GatePair => judged(id, { x: 0, firstSlotWins: 1, ordersAgree: true });
const tied = (id: number): GatePair => judged(id, { x: 0.5, firstSlotWins: 0, ordersAgree: true });
function judged(id: number, result: GatePair["result"]): GatePair {
  return { scenarioId: `s${id}`, cluster: `c${id}`, seed: 1, candidateMasked: false, stableMasked: false, result };
}
const many = (n: number, make: (id: number) => GatePair, from = 0) => Array.from({ length: n }, (_, i) => make(from + i));

test("K worked by hand: two wins against m = ½", () => {
  // (X − m)/max(m, 1 − m) = 1, so each bettor holds (1 + λ)².
  const bets = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8];
  expect(gateWealth([1, 1], 0.5)).toBeCloseTo(bets.reduce((sum, bet) => sum + (1 + bet) ** 2, 0) / 6, 12);
  // m = .47: a tie pays .03/.53 of the stake.
  expect(gateWealth([0.5], 0.47)).toBeCloseTo(bets.reduce((sum, bet) => sum + 1 + (bet * 0.03) / 0.53, 0) / 6, 12);
});

describe("decisions", () => {
  const table: [string, GatePair[], GateParameters, string, string][] = [
    ["ten wins in a row prove it", many(10, won), IMPROVE, "pass", "proven"],
    ["five wins do not", many(5, won), IMPROVE, "insufficient", "not_proven"],
    ["ten losses in a row are harm", many(10, lost), IMPROVE, "refuse", "harm"],
    ["ties prove no improvement", many(120, tied), IMPROVE, "insufficient", "not_proven"],
    ["ties prove non-inferiority", many(120, tied), NON_INFERIOR, "pass", "proven"],
    ["a secondary suite needs its units", many(120, tied), { ...NON_INFERIOR, minUnits: 150 }, "insufficient", "too_few_units"],
    [
      "masked beyond the cap",
      [...many(30, won), ...many(8, (id) => ({ ...won(id), candidateMasked: true, result: null }), 30)],
      IMPROVE,
      "insufficient",
      "masked_share",
    ],
    [
      "a judge outage is no data",
      [...many(30, won), ...many(8, (id) => ({ ...won(id), result: null }), 30)],
      IMPROVE,
      "insufficient",
      "unjudged_share",
    ],
    [
      "a judge in love with the first slot",
      [...many(20, won), ...many(8, (id) => judged(id, { x: 0.5, firstSlotWins: 2, ordersAgree: false }), 20)],
      IMPROVE,
      "insufficient",
      "judge_position_bias",
    ],
    [
      "a judge that contradicts itself both ways",
      [
        ...many(20, won),
        ...many(5, (id) => judged(id, { x: 0.5, firstSlotWins: 2, ordersAgree: false }), 20),
        ...many(5, (id) => judged(id, { x: 0.5, firstSlotWins: 0, ordersAgree: false }), 25),
      ],
      IMPROVE,
      "insufficient",
      "judge_disagreement",
    ],
    ["nothing played", [], IMPROVE, "insufficient", "too_few_units"],
  ];
  test.each(table)("%s", (_, pairs, parameters, decision, reason) => {
    expect(decideGate(pairs, parameters)).toMatchObject({ decision, reason });
  });
});

test("a candidate cannot escape by leaving the tape: masked where stable was not counts as lost, but not as harm", () => {
  const escaped = many(10, (id): GatePair => ({ ...won(id), candidateMasked: true, result: null }));
  const decision = decideGate(escaped, { ...IMPROVE, maxMaskedShare: 1 });
  expect(decision.kPromote).toBe(1);
  expect(decision.kHarm).toBe(1);
  const withWins = decideGate([...escaped, ...many(10, won, 10)], { ...IMPROVE, maxMaskedShare: 1 });
  expect(withWins.kPromote).toBeLessThan(decideGate(many(10, won), IMPROVE).kPromote);
});

test("only stable masked, or both, is a tie", () => {
  const decision = decideGate(
    many(10, (id) => ({ ...won(id), stableMasked: true, candidateMasked: id % 2 === 0, result: null })),
    { ...IMPROVE, maxMaskedShare: 1 },
  );
  expect(decision.kPromote).toBe(1);
});

test("seeds of a scenario and scenarios of a cluster are one unit, scenarios weighing the same", () => {
  const pairs = [
    { ...won(1), seed: 1, cluster: "c" },
    { ...won(1), seed: 2, cluster: "c" },
    { ...lost(2), seed: 1, cluster: "c" },
  ];
  const decision = decideGate(pairs, IMPROVE);
  expect(decision.units).toBe(1);
  // Scenario 1 counts 1, scenario 2 counts 0: the unit is ½, which says nothing.
  expect(decision.kPromote).toBe(1);
});

test("arms that met one another's writes prove nothing, however they did", () => {
  const decision = decideGate(many(120, won), { ...IMPROVE, isWorldShared: true });
  expect(decision).toMatchObject({ decision: "insufficient", reason: "shared_world", wins: 120 });
  expect(decideGate([], { ...IMPROVE, isWorldShared: true })).toMatchObject({ decision: "insufficient", reason: "shared_world", pairs: 0 });
});

test("a pair whose orders disagree counts ½ whatever x says", () => {
  const decision = decideGate([judged(1, { x: 1, firstSlotWins: 1, ordersAgree: false })], IMPROVE);
  expect(decision).toMatchObject({ wins: 0, ties: 1, kPromote: 1 });
});

test("the planner's figures: identical outputs exactly, 40 % ties near the measured 1,115", () => {
  expect(unitsNeeded({ meanX: 0.5, ties: 1 }, 0.47, 0.05)).toBe(105);
  const fortyPercentTies = unitsNeeded({ meanX: 0.5, ties: 0.4 }, 0.47, 0.05);
  expect(fortyPercentTies).toBeGreaterThan(850);
  expect(fortyPercentTies).toBeLessThan(1400);
  expect(unitsNeeded({ meanX: 0.5, ties: 0.4 }, 0.5, 0.05, 500)).toBe(Number.POSITIVE_INFINITY);
});

test("a refused suite says how many more units it would have needed", () => {
  const decision = decideGate(
    [0, 9, 18].flatMap((from) => [...many(4, won, from), ...many(2, lost, from + 4), ...many(3, tied, from + 6)]),
    IMPROVE,
  );
  expect(decision).toMatchObject({ decision: "insufficient", reason: "not_proven" });
  expect(decision.unitsNeeded).toBeGreaterThan(10);
  expect(decision.unitsNeeded).toBeLessThan(200);
});

property.prop([fc.array(fc.constantFrom(0, 0.5, 1), { maxLength: 60 }), fc.constantFrom(0.47, 0.5)])(
  "a win in the place of a loss never lowers K",
  (xs, m) => {
    const better = xs.map((x) => (x === 0 ? 1 : x));
    expect(gateWealth(better, m)).toBeGreaterThanOrEqual(gateWealth(xs, m) - 1e-12);
  },
);
