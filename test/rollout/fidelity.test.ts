import { describe, expect, it } from "vitest";
import { fidelityOf, simulatedShareOf } from "../../src/rollout/fidelity.ts";
import type { JournalEntry, Rollout, RolloutEnd, Rung } from "../../src/rollout/group.ts";

const confidences: Partial<Record<Rung, number>> = { R3: 0.97, R4: 0.9, R5: 0.6, R7: 0 };
const entry = (rung: Rung, step: number): JournalEntry => ({
  step,
  tool: "t",
  callKey: `k${step}`,
  rung,
  confidence: confidences[rung] ?? 1,
  stateBefore: "",
  stateAfter: "",
  isError: false,
  ...(rung === "R3" ? { recordedAtMs: 400 } : {}),
});
const member = (rungs: readonly Rung[], end: RolloutEnd = { status: "completed" }): Rollout => ({
  rolloutId: "r",
  scenarioId: "s",
  messages: [],
  calls: [],
  journal: rungs.map(entry),
  end,
  seed: 0,
});
const masked: RolloutEnd = { status: "masked", cause: "replay_miss" };

describe("fidelityOf", () => {
  it("counts by hand", () => {
    const report = fidelityOf(
      [member(["R1", "R0", "R3"]), member(["R1", "R5"]), member(["R1", "R4", "agent_error", "R7"], masked), member([])],
      1_000,
    );
    expect(report).toEqual({
      callsByRung: { R0: 1, R1: 3, R3: 1, R4: 1, R5: 1, R7: 1, agent_error: 1 },
      // 7 of 9 answered at R0–R4 or as a mistake, 5 with recorded bytes, 1 drawn.
      coverage: 7 / 9,
      realShare: 5 / 9,
      simulatedShare: 1 / 9,
      divergenceStep: 1,
      // Of the first member one call from R3 on, of the second one, of the third three; the fourth made none.
      divergenceDepth: 5 / 3,
      stalenessMs: 600,
      // (0.97^(1/3) + 0.6^(1/2) + 1) / 3, the masked member left out.
      weight: (Math.cbrt(0.97) + Math.sqrt(0.6) + 1) / 3,
      unmasked: 3,
      decision: "train",
      reasons: [],
    });
  });

  it.each([
    ["three of three", [member([]), member([]), member([])], "train"],
    ["two of two", [member([]), member([])], "drop"],
    ["three of seven", [...Array<Rollout>(3).fill(member([])), ...Array<Rollout>(4).fill(member([], masked))], "drop"],
    ["four of eight", [...Array<Rollout>(4).fill(member([])), ...Array<Rollout>(4).fill(member([], masked))], "train"],
    ["truncated ones count", Array<Rollout>(3).fill(member([], { status: "truncated", cause: "loop" })), "train"],
    ["mostly drawn answers", Array<Rollout>(3).fill(member(["R1", "R5"])), "downweight"],
    ["nobody left", Array<Rollout>(3).fill(member(["R7"], masked)), "drop"],
    ["all miss after an answer", Array<Rollout>(3).fill(member(["R1", "R7"], masked)), "step-only"],
    ["all lost to an outage", Array<Rollout>(3).fill(member(["R1"], { status: "masked", cause: "infrastructure" })), "drop"],
  ])("decides %s", (_, members, decision) => {
    expect(fidelityOf(members, 0).decision).toBe(decision);
  });

  it("says why", () => {
    const outage: RolloutEnd = { status: "masked", cause: "infrastructure" };
    expect(fidelityOf(Array<Rollout>(3).fill(member(["R1", "R5"])), 0).reasons).toEqual(["low_weight"]);
    expect(fidelityOf([member([]), member(["R7"], masked), member([], outage)], 0).reasons).toEqual([
      "few_unmasked",
      "masked_by_replay",
      "masked_by_infrastructure",
    ]);
  });
});

it("takes the simulated share of answered calls only", () => {
  expect(simulatedShareOf([])).toBe(0);
  expect(simulatedShareOf(["R1", "R5", "R7"].map((rung, step) => entry(rung as Rung, step)))).toBe(0.5);
});
