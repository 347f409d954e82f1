import { afterEach, expect, it } from "vitest";
import { cli, stubApi, type StubApi } from "./terminal.ts";

let api: StubApi | null = null;
afterEach(async () => {
  await api?.close();
  api = null;
});

async function serve(answers: Readonly<Record<string, unknown>>): Promise<StubApi> {
  api = await stubApi(answers);
  return api;
}

const summary = {
  ...{ verdict: "kept", mean: 0.5, deviation: 0.3, masked: {}, weight: 1, callsByRung: {}, simulatedShare: 0, members: 2 },
  ...{ rewards: [0.9, 0.1], judgeRewards: [0.9, 0.4], spreads: [0.1, null], explanations: ["well done", "too late"] },
  judge: {
    ...{ driver: "ruler", model: "large", rubricVersion: "ruler-1", promptHash: "ab12", inputTokens: 200, outputTokens: 20 },
    ...{ cost: 0.5, cached: true, passes: 2, elided: true },
  },
  ...{ anchorReward: 0.7, anchorExplanation: "as it was" },
  independent: { check: [1, 0.1], combined: "min", feedback: { value: 0, members: [1] } },
};
const member = { end: { status: "completed" }, journal: [] };
const fidelity = { decision: "train", weight: 1, realShare: 1, simulatedShare: 0, callsByRung: {} };
const group = { id: "g", iteration: 1, scenarioId: "s", summary, body: { members: [member, member], fidelity } };

it("a group is shown with its prompt, passes, cost, anchor and independent rewards", async () => {
  const { url } = await serve({ "GET /v1/groups/g": { httpStatus: 200, body: group } });
  const { out } = await cli(["groups", "show", "g", "--url", url]);
  expect(out).toMatch(/judge +ruler large, rubric ruler-1, 2 passes, 200 \+ 20 tokens for 0\.5000, from the cache, shown with texts cut/);
  expect(out).toMatch(/prompt +ab12/);
  expect(out).toMatch(/anchor +0\.700 for the recorded conversation/);
  expect(out).toMatch(/independent +check 1\.000 0\.100 \(min\); feedback 0 bounds members 1/);
  expect(out).toMatch(/0\.900 +0\.900 ± 0\.050 +completed/);
  expect(out).toMatch(/0\.100 +0\.400 +completed/);
});

const spending = {
  role: "reward",
  model: "large",
  inputTokens: 4_000,
  outputTokens: 500,
  cost: 1.5,
  reservedTokens: 500,
  reservedCost: 0.1,
  maxTokens: 5_000,
};
const run = {
  ...{
    id: "r",
    agent: "a",
    state: "finished",
    startedAtMs: 0,
    finishedAtMs: 1_000,
    steps: [],
    iterations: [],
    replay: { tools: null, report: null },
    judge: null,
    alarms: [],
    checks: null,
    gatePairs: { begun: 0, finished: 0 },
  },
  outcome: { kind: "nothing_to_learn", reason: "no signal" },
};
it.each([
  {
    more: { maxCost: 2, refused: 0 },
    says: /^judge large: 5,000 of 5,000 tokens, of them 500 held for questions without an answer, 1\.6000 of 2 in money$/m,
  },
  { more: { maxCost: null, refused: 3 }, says: /1\.5000 in money; BUDGET SPENT: 3 questions were not asked$/m },
])("a run is shown with what its judge has used: $more", async ({ more, says }) => {
  const { url } = await serve({ "GET /v1/runs/r": { ...run, judgeSpending: [{ ...spending, ...more }] } });
  expect((await cli(["runs", "show", "r", "--url", url])).out).toMatch(says);
});
