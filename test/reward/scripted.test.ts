import { afterAll, beforeAll, expect, test } from "vitest";
import { textOf } from "../../src/trace/message.ts";
import { silentLog } from "../../src/log.ts";
import { createScriptedJudge } from "../../src/reward/judge-scripted.ts";
import { createLlmPairJudge } from "../../src/reward/pair-judge-llm.ts";
import { createScriptedPairJudge } from "../../src/reward/pair-judge-scripted.ts";
import { combineOrders } from "../../src/reward/pair-orders.ts";
import { loadScriptedModule, type ScriptedModule } from "../../src/reward/scripted-module.ts";
import type { Database } from "../../src/store/database.ts";
import { describeJudge } from "../conformance/judge.ts";
import { describePairJudge } from "../conformance/pair-judge.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { messagesOf, refundGroup, rollout } from "./groups.ts";
import { startJudgeServer, type Behaviour, type JudgeRequest, type JudgeServer } from "./judge-server.ts";

const isDone = ({ messages }: { messages: Parameters<typeof textOf>[0][] | readonly Parameters<typeof textOf>[0][] }) =>
  messages.some((message) => message.role === "assistant" && textOf(message).includes("done"));

const MODULE: ScriptedModule = {
  name: "test-module",
  scoreGroup: (members) => members.map((_, index) => index / members.length),
  explainGroup: (members) => members.map((_, index) => `place ${index}`),
  comparePair: (first, second) => (isDone(first) === isDone(second) ? 0.5 : isDone(first) ? 1 : 0),
  judgeRubric: "rubric-1",
  pairRubric: "pair-rubric-1",
};

describeJudge("scripted", async () => createScriptedJudge(MODULE));
describePairJudge("scripted", async () => createScriptedPairJudge(MODULE));

let database: Database;
let server: JudgeServer;
let prefersFirst = false;
beforeAll(async () => {
  database = await memoryDatabase();
  server = await startJudgeServer((request) => reply(request));
});
afterAll(async () => {
  await server.close();
  await database.close();
});

function reply(request: JudgeRequest): Behaviour {
  const [, first = "", second = ""] = (request.messages[1]?.content ?? "").split("<trajectory id=");
  const winner = prefersFirst
    ? "first"
    : first.includes("done") === second.includes("done")
      ? "tie"
      : first.includes("done")
        ? "first"
        : "second";
  return { text: JSON.stringify({ winner, explanation: "said so" }) };
}

const openPairJudge = (model: string) =>
  createLlmPairJudge(
    { driver: "ruler", baseUrl: server.url, model, timeoutMs: 5000, concurrency: 4, maxTokensPerRun: 1000 },
    { database, log: silentLog(), now: () => 0, env: {} },
  );

describePairJudge("llm", async () => openPairJudge("honest"));

test("a judge that always prefers the first slot contradicts itself, and its pairs count ½", async () => {
  prefersFirst = true;
  const [candidate, stable] = ["done", "no"].map((say) => rollout(messagesOf([{ say }], "Do it.")));
  if (candidate === undefined || stable === undefined) throw new Error("two attempts");
  const result = await openPairJudge("biased").compare({ scenarioId: "s", candidate, stable });
  expect(result).toMatchObject({ status: "compared", x: 0.5, firstSlotWins: 2, ordersAgree: false });
  prefersFirst = false;
});

test.each([
  ["first", "second", 1, 1, true],
  ["second", "first", 0, 1, true],
  ["tie", "tie", 0.5, 0, true],
  ["first", "first", 0.5, 2, false],
  ["second", "second", 0.5, 0, false],
  ["first", "tie", 0.5, 1, false],
  ["tie", "second", 0.5, 0, false],
] as const)("orders %s / %s", (candidateFirst, stableFirst, x, firstSlotWins, ordersAgree) => {
  expect(combineOrders({ candidateFirst, stableFirst })).toEqual({ x, firstSlotWins, ordersAgree });
});

test("scripted scores say that they are scripted, and nonsense is refused", async () => {
  expect(await createScriptedJudge(MODULE).score(refundGroup())).toMatchObject({
    status: "scored",
    rewards: [0, 0.25, 0.5, 0.75, null],
    explanations: ["place 0", "place 1", "place 2", "place 3", null],
    provenance: { driver: "scripted", model: "test-module", rubricVersion: "rubric-1", cached: false },
  });
  const broken = createScriptedJudge({ ...MODULE, scoreGroup: () => [7] });
  expect(await broken.score(refundGroup())).toMatchObject({ status: "rejected", error: { code: "judge_module_invalid" } });
});

test("the quickstart's module loads; others are refused with what is missing", async () => {
  const module = await loadScriptedModule("deploy/quickstart/judge.ts");
  const result = await createScriptedJudge(module).score(refundGroup());
  if (result.status !== "scored") throw new Error(result.status);
  const [done = 0, blind = 0, forgotten = 0, looped = 0] = result.rewards.map((reward) => reward ?? 0);
  expect(done).toBeGreaterThan(Math.max(forgotten, looped) + 0.3);
  expect(done).toBeGreaterThanOrEqual(blind);
  await expect(loadScriptedModule("test/reward/groups.ts")).rejects.toMatchObject({ code: "judge_module_invalid" });
  await expect(loadScriptedModule("no-such-file.ts")).rejects.toMatchObject({ code: "judge_module_invalid" });
});
