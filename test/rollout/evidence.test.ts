import { expect, it } from "vitest";
import { addEvidence, isRefuted, isShown, type Evidence } from "../../src/rollout/cascade/evidence.ts";
import { upperBound } from "../../src/rollout/measure/binomial.ts";
import type { Tape } from "../../src/trajectory/tape.ts";

/** Evidence of so many conversations; each shows it three times. */
function evidenceOf(agreeing: number, disagreeing: number): Evidence {
  const record = new Map<string, Evidence>();
  const note = (id: string, isFor: boolean): void => {
    for (let time = 0; time < 3; time += 1) addEvidence(record, "rule", { conversationId: id } as Tape, isFor);
  };
  for (let count = 0; count < agreeing; count += 1) note(`for ${count}`, true);
  for (let count = 0; count < disagreeing; count += 1) note(`against ${count}`, false);
  return record.get("rule") as Evidence;
}

it("counts conversations, not what each of them repeats", () => {
  expect(isShown(evidenceOf(1, 0), 2)).toBe(false);
  expect(isShown(evidenceOf(2, 0), 2)).toBe(true);
  expect(isShown(undefined, 0)).toBe(false);
});

it("is refuted by one conversation until it is surely less than one in twenty, and by two whatever speaks for it", () => {
  expect(isRefuted(undefined)).toBe(false);
  expect(isRefuted(evidenceOf(5, 0))).toBe(false);
  expect([evidenceOf(0, 1), evidenceOf(91, 1), evidenceOf(92, 1), evidenceOf(500, 2)].map(isRefuted)).toEqual([true, true, false, true]);
  // Clopper–Pearson, one-sided 95 %: one of 92 may still be 5.05 %, one of 93 is at most 5 %.
  expect(upperBound(1, 92)).toBeGreaterThan(0.05);
  expect(upperBound(1, 93)).toBeLessThanOrEqual(0.05);
});
