import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { readSpending, type JudgeSpending } from "../../src/reward/client/budget.ts";
import type { LlmJudgeConfig } from "../../src/reward/judge-client.ts";
import { createRulerJudge } from "../../src/reward/judge-ruler.ts";
import type { Judge } from "../../src/reward/judge.ts";
import { createLlmPairJudge } from "../../src/reward/pair-judge-llm.ts";
import type { TrajectoryGroup } from "../../src/rollout/group.ts";
import type { Database } from "../../src/store/database.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { refundGroup } from "./groups.ts";
import { attemptsIn, startJudgeServer, type Behaviour, type JudgeRequest, type JudgeServer } from "./judge-server.ts";

let database: Database;
const servers: JudgeServer[] = [];
beforeAll(async () => {
  database = await memoryDatabase();
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});
afterAll(() => database.close());

/** One question about the refund group holds about 2,000 tokens; what it then uses is what the server says. */
const USED = { prompt_tokens: 1_000, completion_tokens: 100 };
/** Far apart, so that one pass is enough. */
const scoreOf = (text: string) =>
  text.includes("checked") ? 0.9 : text.includes("was refunded") ? 0.6 : text.includes("colleague") ? 0.4 : 0.1;
const honest = (request: JudgeRequest): Behaviour => ({
  text: JSON.stringify({ scores: attemptsIn(request).map(({ id, text }) => ({ id, explanation: "", score: scoreOf(text) })) }),
  usage: USED,
});

let models = 0;
async function open(
  change: Partial<LlmJudgeConfig>,
  behave: (request: JudgeRequest) => Behaviour | Promise<Behaviour> = honest,
): Promise<{ judge: Judge; again: () => Judge; server: JudgeServer; config: LlmJudgeConfig }> {
  const server = await startJudgeServer(behave);
  servers.push(server);
  const config: LlmJudgeConfig = {
    ...{ driver: "ruler", baseUrl: server.url, model: `budget-${++models}`, timeoutMs: 5_000, concurrency: 8, maxTokensPerRun: 5_000_000 },
    ...change,
  };
  const again = () => createRulerJudge(config, { database, log: silentLog(), now: () => 0, env: {} });
  return { judge: again(), again, server, config };
}

const groupOf = (runId: string, index: number): TrajectoryGroup => ({ ...refundGroup(), runId, groupId: `${runId}-${index}` });
const spendingOf = async (runId: string): Promise<JudgeSpending | undefined> => (await readSpending(database, runId))[0];
const SPENT = { status: "rejected", error: { code: "judge_budget_spent" } };

test("a run that has spent its tokens goes on unscored, also in another process; another run has its own", async () => {
  const { judge, again, server } = await open({ maxTokensPerRun: 5_000 });
  for (const index of [1, 2, 3]) expect(await judge.score(groupOf("tokens", index))).toMatchObject({ status: "scored" });
  // 3,300 are used, and a fourth may take 2,000 more.
  expect(await judge.score(groupOf("tokens", 4))).toMatchObject({
    ...SPENT,
    error: { code: "judge_budget_spent", message: expect.stringMatching(/3300 tokens .* of this run's 5000/) },
  });
  const restarted = again();
  expect(await restarted.score(groupOf("tokens", 5))).toMatchObject(SPENT);
  expect(server.requests).toHaveLength(3);
  expect(await spendingOf("tokens")).toMatchObject({
    inputTokens: 3_000,
    outputTokens: 300,
    reservedTokens: 0,
    maxTokens: 5_000,
    refused: 2,
  });
  expect(await restarted.score(groupOf("tokens-next", 1))).toMatchObject({ status: "scored" });
  // What is in the cache costs nothing.
  expect(await restarted.score(groupOf("tokens", 1))).toMatchObject({ status: "scored", provenance: { cached: true } });
});

test("money is counted at the configured prices, and bounds a run as tokens do", async () => {
  // 1,000 × 3 + 100 × 15 = 4,500 millionths a question; about 1,300 × 3 + 680 × 15 = 14,000 are held before it.
  const { judge, server } = await open({ inputPricePerMillion: 3, outputPricePerMillion: 15, maxCostPerRun: 0.02 });
  const results = [];
  for (let index = 0; index < 5; index += 1) results.push((await judge.score(groupOf("money", index))).status);
  expect(results).toEqual(["scored", "scored", "rejected", "rejected", "rejected"]);
  expect(server.requests).toHaveLength(2);
  expect(await spendingOf("money")).toMatchObject({ cost: expect.closeTo(0.009, 12), reservedCost: 0, maxCost: 0.02, refused: 3 });
});

test("questions in flight together do not overshoot: each waits until there is room for it, and none is refused that there is room for", async () => {
  let inFlight = 0;
  let most = 0;
  const { judge, server } = await open({ maxTokensPerRun: 12_000 }, async (request) => {
    most = Math.max(most, ++inFlight);
    await new Promise((resolve) => setTimeout(resolve, 20));
    inFlight -= 1;
    return honest(request);
  });
  const results = await Promise.all(Array.from({ length: 20 }, (_, index) => judge.score(groupOf("together", index))));
  const scored = results.filter(({ status }) => status === "scored").length;
  const spending = await spendingOf("together");
  if (spending === undefined) throw new Error("spent");
  const used = spending.inputTokens + spending.outputTokens;
  expect(used).toBeLessThanOrEqual(12_000);
  // Whoever was refused would not have fitted: one question holds about 2,000.
  expect(used).toBeGreaterThan(12_000 - 2_500);
  expect([scored, server.requests.length, spending.refused, spending.reservedTokens]).toEqual([used / 1_100, used / 1_100, 20 - scored, 0]);
  expect(most).toBeGreaterThan(1);
});

test("what a killed process had asked stays held; an outage gives back what it held", async () => {
  const asked = Promise.withResolvers<void>();
  const killed = await open({ maxTokensPerRun: 4_000 }, () => {
    asked.resolve();
    return { hang: true };
  });
  // Nobody waits for this one any more, as after a kill.
  const lost = killed.judge.score(groupOf("killed", 1)).catch(() => undefined);
  await asked.promise;
  const held = (await spendingOf("killed"))?.reservedTokens ?? 0;
  expect(held).toBeGreaterThan(1_500);
  const { judge } = await open({ maxTokensPerRun: 4_000, model: killed.config.model });
  expect(await judge.score(groupOf("killed", 2))).toMatchObject({ status: "scored" });
  expect(await judge.score(groupOf("killed", 3))).toMatchObject(SPENT);
  expect(await spendingOf("killed")).toMatchObject({ reservedTokens: held, inputTokens: 1_000, refused: 1 });
  await killed.server.close();
  await lost;
  expect(await spendingOf("killed")).toMatchObject({ reservedTokens: 0, reservedCost: 0 });
  expect(await judge.score(groupOf("killed", 4))).toMatchObject({ status: "scored" });
});

test("replies that cannot be used are paid for, too, and the budget ends their repetition", async () => {
  const { judge, server } = await open({ maxTokensPerRun: 4_000 }, () => ({ text: "no", usage: USED }));
  expect(await judge.score(groupOf("bad", 1))).toMatchObject(SPENT);
  expect(server.requests).toHaveLength(2);
  expect(await spendingOf("bad")).toMatchObject({ inputTokens: 2_000, outputTokens: 200 });
});

test("the gate's judge has a budget of its own in the same run", async () => {
  const winner: Behaviour = { text: '{"winner": "tie", "explanation": "same"}', usage: USED };
  const { config } = await open({ maxTokensPerRun: 3_000 }, () => winner);
  const pairJudge = createLlmPairJudge(config, { database, log: silentLog(), now: () => 0, env: {} });
  const [candidate, stable] = refundGroup().members;
  if (candidate === undefined || stable === undefined) throw new Error("two members");
  expect(await pairJudge.compare({ runId: "both", scenarioId: "s", candidate, stable })).toMatchObject({ status: "compared" });
  const { judge } = await open({});
  await judge.score(groupOf("both", 1));
  expect(await readSpending(database, "both")).toMatchObject([
    { role: "reward", inputTokens: 1_000 },
    { role: "gate", inputTokens: 2_000, outputTokens: 200 },
  ]);
  expect(await pairJudge.compare({ runId: "both", scenarioId: "other", candidate, stable })).toMatchObject(SPENT);
});
