import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { deltaOf, look, newCanaryState, observe, type CanaryParameters, type CanaryUnit } from "../../src/promotion/canary.ts";
import {
  effectInterval,
  logGuardrail,
  NEW_BET_PROCESS,
  NEW_EFFECT_SUMS,
  NEW_GUARDRAIL_PROCESS,
  observeBadEvent,
  observeBet,
  observeEffect,
} from "../../src/promotion/canary-statistics.ts";

interface Checkpoint {
  n: number;
  phiPromote: number;
  phiHarm: number;
  kPromote: number;
  kHarm: number;
  guardrail: number;
  guardrailLatency: number;
  mismatchAssigned: number;
  mismatchScored: number;
  effect: { mean: number; low: number; high: number };
}
interface Case {
  name: string;
  delta: number;
  lambda0: number;
  units: { arm: "stable" | "candidate"; p: number; outcome: number | null; bad: boolean }[];
  checkpoints: Checkpoint[];
}

const SCRIPT = "test/promotion/reference/canary_reference.py";
const FIXTURE = "test/promotion/reference/canary_reference.json";
const cases = JSON.parse(readFileSync(FIXTURE, "utf8")) as Case[];

test.each(cases)("agrees with the NumPy reference to 1e-9: $name", (reference) => {
  const parameters = parametersOf(reference);
  let state = newCanaryState();
  let promote = NEW_BET_PROCESS;
  let harm = NEW_BET_PROCESS;
  let latency = NEW_GUARDRAIL_PROCESS;
  let effect = NEW_EFFECT_SUMS;
  let phi = { promote: 0, harm: 0 };
  for (const [index, row] of reference.units.entries()) {
    state = observe(state, { ...UNIT, ...row, errors: { tool_failure: row.bad } }, parameters);
    const bet = { delta: reference.delta, lambda0: reference.lambda0 };
    const stepPromote = observeBet(promote, row, { side: "promote", ...bet });
    const stepHarm = observeBet(harm, row, { side: "harm", ...bet });
    promote = stepPromote.process;
    harm = stepHarm.process;
    phi = { promote: stepPromote.phi, harm: stepHarm.phi };
    if (row.bad) latency = observeBadEvent(latency, row, 2);
    effect = observeEffect(effect, row.p, phi.promote);
    const checkpoint = reference.checkpoints.find(({ n }) => n === index + 1);
    if (checkpoint === undefined) continue;
    const { numbers } = look(state, parameters, { startedAtMs: 0, nowMs: 0 });
    const interval = effectInterval(effect, 0.05, 150);
    const got = {
      phiPromote: phi.promote,
      phiHarm: phi.harm,
      kPromote: numbers.kPromote,
      kHarm: numbers.kHarm,
      guardrail: numbers.guardrails.tool_failure,
      guardrailLatency: Math.exp(logGuardrail(latency)),
      mismatchAssigned: numbers.mismatchAssigned,
      mismatchScored: numbers.mismatchScored,
      mean: interval?.mean,
      low: interval?.low,
      high: interval?.high,
    };
    const want = { ...checkpoint, ...checkpoint.effect };
    for (const [name, value] of Object.entries(got)) expectClose(`${name} at ${checkpoint.n}`, value, want[name as keyof typeof got]);
  }
});

const python = ".venv/bin/python";
test.skipIf(!existsSync(python))("the committed reference is what its script prints", () => {
  const printed = JSON.parse(execFileSync(python, [SCRIPT], { encoding: "utf8" })) as Case[];
  expect(printed.map(({ units }) => units)).toEqual(cases.map(({ units }) => units));
  for (const [index, { checkpoints }] of printed.entries()) {
    for (const [row, checkpoint] of checkpoints.entries()) {
      expectClose("kPromote", checkpoint.kPromote, cases[index]?.checkpoints[row]?.kPromote ?? Number.NaN);
      expectClose("kHarm", checkpoint.kHarm, cases[index]?.checkpoints[row]?.kHarm ?? Number.NaN);
    }
  }
});

test("worked by hand: the first unit of a half-weight canary", () => {
  // Nothing seen: m1 = m0 = 1/2, so g = 0; a candidate success at p = 1/2 has phi = (1 − ½)/½ = 1; v = 1; lo = −1, so no stake is capped at λ0 = .18.
  const first = observeBet(NEW_BET_PROCESS, { arm: "candidate", p: 0.5, outcome: 1 }, { side: "promote", delta: 0, lambda0: 0.18 });
  expect(first.phi).toBe(1);
  expect(first.process.logs.map(Math.exp)).toEqual([1.09, 1.18, 1.36, 1.72].map((value) => expect.closeTo(value, 12)));
  // The next unit bets with m1 = 2/3: a stable failure is good news for the candidate: g = 1/6, phi = 1/6 + (1/2)/(1/2).
  const second = observeBet(first.process, { arm: "stable", p: 0.5, outcome: 0 }, { side: "promote", delta: 0, lambda0: 0.18 });
  expect(second.phi).toBeCloseTo(1 / 6 + 1, 12);
});

test("worked by hand: a missing outcome counts against what is to be shown", () => {
  const bet = { delta: 0, lambda0: 0.1 };
  const phi = (side: "promote" | "harm", arm: "stable" | "candidate") =>
    observeBet(NEW_BET_PROCESS, { arm, p: 0.5, outcome: null }, { side, ...bet }).phi;
  expect(phi("promote", "candidate")).toBe(-1);
  expect(phi("promote", "stable")).toBe(0);
  expect(phi("harm", "candidate")).toBe(0);
  expect(phi("harm", "stable")).toBe(1);
});

function parametersOf(reference: Case): CanaryParameters {
  const parameters: CanaryParameters = {
    mode: "non-inferior",
    delta: reference.delta,
    alpha: 0.05,
    lambda0: reference.lambda0,
    ramp: [{ weight: 0.5 }],
    maxUnits: 300,
    lookEvery: 1,
    dwellMs: 0,
    deadlineMs: 1,
    minCandidateUnits: 0,
  };
  expect(deltaOf(parameters)).toBe(reference.delta);
  return parameters;
}

const UNIT: CanaryUnit = {
  key: "key",
  arm: "stable",
  p: 0.5,
  routeVersion: 1,
  assignedAtMs: 0,
  endedAtMs: 0,
  trajectoryId: "trajectory",
  outcome: null,
  errors: {},
};

function expectClose(what: string, got: number | undefined, want: number): void {
  const error = Math.abs((got ?? Number.NaN) - want) / Math.max(Math.abs(want), 1e-12);
  // φ may cancel to near zero; an absolute error of 1e-12 is the same claim there.
  expect(error < 1e-9 || Math.abs((got ?? Number.NaN) - want) < 1e-12, `${what}: ${got} instead of ${want}`).toBe(true);
}
