import { describe, expect, test } from "vitest";
import { klFigures, type KlSums } from "../../src/promotion/gate-kl.ts";
import { sampledSequences, scoreRollout } from "../../src/promotion/gate-score.ts";
import { decideGate, type GatePair, type GateParameters } from "../../src/promotion/gate.ts";
import type { SampledCall } from "../../src/rollout/group.ts";
import type { PolicyServer } from "../../src/serving/policy-server.ts";
import { createScriptedPolicy, gone, retryable } from "../rollout/scripted-policy.ts";

const IMPROVE: GateParameters = { mode: "improve", alpha: 0.05, margin: 0.06, maxMaskedShare: 0.2 };
const CAPS = { toStable: 0.2, toBase: 0.5 };

function pair(id: number, x: 0 | 1, kl?: KlSums | null): GatePair {
  const result = { x, firstSlotWins: 1, ordersAgree: true } as const;
  const masked = { candidateMasked: false, stableMasked: false };
  return { scenarioId: `s${id}`, cluster: `c${id}`, seed: 0, ...masked, result, ...(kl === undefined ? {} : { kl }) };
}
const pairs = (x: 0 | 1, ...sums: (KlSums | null)[]): GatePair[] => sums.map((kl, id) => pair(id, x, kl));

test("the figures are per token, however many a rollout had", () => {
  const sums = [{ tokens: 10, toStable: 1, toBase: 4 }, { tokens: 30, toStable: 3.5, toBase: -1 }, null];
  // 4.5 and 3 nats over 40 tokens; means of rollouts would be 0.1083 and 0.1833.
  expect(klFigures([...pairs(1, ...sums), pair(9, 1)])).toEqual({
    ...{ rollouts: 2, unmeasured: 1, tokens: 40, toStable: 0.1125, toBase: 0.075 },
  });
  expect(klFigures([pair(1, 1)])).toEqual({ rollouts: 0, unmeasured: 0, tokens: 0, toStable: null, toBase: null });
});

describe("a candidate that won ten times in a row", () => {
  const ten = (kl: KlSums | null) => Array.from({ length: 10 }, () => kl);
  const near = { tokens: 20, toStable: 4, toBase: 10 };
  const cases: [string, (KlSums | null)[], GateParameters["maxKl"], string, string][] = [
    ["at both caps passes", ten(near), CAPS, "pass", "proven"],
    ["beyond stable's is refused", ten({ ...near, toStable: 4.01 }), CAPS, "refuse", "kl_to_stable"],
    ["beyond the base's is refused", ten({ ...near, toBase: 10.01 }), CAPS, "refuse", "kl_to_base"],
    [
      "passes where both figures are only reported",
      ten({ ...near, toStable: 90, toBase: 90 }),
      { toStable: null, toBase: null },
      "pass",
      "proven",
    ],
    [
      "is held to the cap that there is",
      ten({ ...near, toStable: 90, toBase: 11 }),
      { toStable: null, toBase: 0.5 },
      "refuse",
      "kl_to_base",
    ],
    ["and could not be scored passes nothing", ten(null), CAPS, "insufficient", "kl_unmeasured"],
    ["with two unscored of ten passes", [null, null, ...ten(near).slice(2)], CAPS, "pass", "proven"],
    ["with three unscored of ten passes nothing", [null, null, null, ...ten(near).slice(3)], CAPS, "insufficient", "kl_unmeasured"],
    ["without a token passes nothing", ten({ tokens: 0, toStable: 0, toBase: 0 }), CAPS, "insufficient", "kl_unmeasured"],
  ];
  test.each(cases)("%s", (_, sums, maxKl, decision, reason) => {
    expect(decideGate(pairs(1, ...sums), { ...IMPROVE, ...(maxKl === undefined ? {} : { maxKl }) })).toMatchObject({ decision, reason });
  });

  test("is not asked about where the gate has no caps", () => {
    const decision = decideGate(pairs(1, ...ten({ ...near, toStable: 90 })), IMPROVE);
    expect(decision).toMatchObject({ decision: "pass", kl: { rollouts: 10, toStable: 4.5 } });
  });
});

test("harm is told before distance", () => {
  const far = Array.from({ length: 10 }, () => ({ tokens: 1, toStable: 9, toBase: 9 }));
  expect(decideGate(pairs(0, ...far), { ...IMPROVE, maxKl: CAPS })).toMatchObject({ decision: "refuse", reason: "harm" });
});

const call = (promptTokenIds: number[], completionTokenIds: number[]): SampledCall => ({
  ...{ promptTokenIds, completionTokenIds, logprobs: completionTokenIds.map(() => -0.1), finishReason: "stop", adapterDigest: "c" },
  sampling: { temperature: 0.7, topP: 1, topK: 0, minP: 0, seed: 1 },
});

test("calls that continue are one sequence, a rewritten history is another", () => {
  expect(sampledSequences([call([1, 2], [3, 4]), call([1, 2, 3, 4, 9], [5]), call([1, 2, 8, 4, 9, 5, 7], [6])])).toEqual([
    { tokenIds: [1, 2, 3, 4, 9, 5], positions: [2, 3, 5] },
    { tokenIds: [1, 2, 8, 4, 9, 5, 7, 6], positions: [7] },
  ]);
  expect(sampledSequences([])).toEqual([]);
});

describe("scoring a rollout", () => {
  const ARMS = { candidate: "c", stable: "s", base: "b" };
  const rollout = [call([1, 2], [3, 4]), call([1, 2, 3, 4, 9], [5]), call([7], [6])];
  /** What was not sampled would show as hundreds. */
  const LOGPROBS: Record<string, Record<number, number>> = {
    c: { 3: -0.5, 4: -1, 5: -0.25, 6: -2 },
    s: { 3: -0.75, 4: -0.5, 5: -1, 6: -2.5 },
    b: { 3: -1.5, 4: -3, 5: -0.25, 6: -2 },
  };
  const scored = (model: string, id: number): number => LOGPROBS[model]?.[id] ?? -100;
  const silent = () => ({ reply: "" });
  const score = (policyServer: PolicyServer, arms = ARMS) =>
    scoreRollout(rollout, arms, { policyServer, cacheSalt: "s", signal: new AbortController().signal });

  test("by hand", async () => {
    const policy = createScriptedPolicy(silent, scored);
    // To stable: .25 − .5 + .75 + .5; to the base: 1 + 2 + 0 + 0.
    expect(await score(policy)).toEqual({ tokens: 4, toStable: 1, toBase: 3 });
    expect(policy.scored).toEqual(["c", "b", "s", "c", "b", "s"]);
  });

  test("asks once where stable is the base", async () => {
    const policy = createScriptedPolicy(silent, scored);
    expect(await score(policy, { ...ARMS, stable: "b" })).toEqual({ tokens: 4, toStable: 3, toBase: 3 });
    expect(policy.scored).toEqual(["c", "b", "c", "b"]);
  });

  test("a server that is away is asked again; one that will not, or says no number, gives no figure", async () => {
    const policy = createScriptedPolicy(silent, scored);
    let failures = 0;
    const flaky: PolicyServer = {
      ...policy,
      promptLogprobs: (request) => ((failures += 1) % 3 === 1 ? Promise.resolve(retryable) : policy.promptLogprobs(request)),
    };
    expect(await score(flaky)).toEqual({ tokens: 4, toStable: 1, toBase: 3 });
    const away: PolicyServer = { ...policy, promptLogprobs: () => Promise.resolve(retryable) };
    expect(await score(away)).toBeNull();
    const lost: PolicyServer = { ...policy, promptLogprobs: () => Promise.resolve(gone) };
    expect(await score(lost)).toBeNull();
    expect(await score(createScriptedPolicy(silent, () => Number.NaN))).toBeNull();
  });
});
