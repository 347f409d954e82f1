import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import type { LlmJudgeConfig } from "../../src/reward/judge-client.ts";
import { createRulerJudge } from "../../src/reward/judge-ruler.ts";
import type { Judge } from "../../src/reward/judge.ts";
import type { Database } from "../../src/store/database.ts";
import { describeJudge } from "../conformance/judge.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { refundGroup, statusGroup } from "./groups.ts";
import { honestScores, startJudgeServer, type Behaviour, type JudgeRequest, type JudgeServer } from "./judge-server.ts";

let database: Database;
const servers: JudgeServer[] = [];
beforeAll(async () => {
  database = await memoryDatabase();
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});
afterAll(() => database.close());

const json = (scores: unknown): Behaviour => ({ text: JSON.stringify({ scores }) });
const honest = (request: JudgeRequest): Behaviour => json(honestScores(request));

let judges = 0;
/** A judge with a server of its own; the model's name keeps the tests' caches apart. */
async function open(behave: Parameters<typeof startJudgeServer>[0], change: Partial<LlmJudgeConfig> = {}) {
  const server = await startJudgeServer(behave);
  servers.push(server);
  const config: LlmJudgeConfig = {
    ...{ driver: "ruler", baseUrl: server.url, model: `judge-${++judges}`, timeoutMs: 5000, concurrency: 4, maxTokensPerRun: 1_000_000 },
    ...change,
  };
  const judge: Judge = createRulerJudge(config, { database, log: silentLog(), now: () => 0, env: { KEY: "secret" } });
  return { server, judge, config };
}

describeJudge("ruler", async () => (await open(honest)).judge);

describe("a malformed reply is asked for again, told what is wrong with it", () => {
  type Scores = ReturnType<typeof honestScores>;
  const damage: [string, (scores: Scores) => Behaviour, RegExp][] = [
    ["missing id", (scores) => json(scores.slice(1)), /no score for attempt/],
    ["extra id", (scores) => json([...scores, { id: "99", explanation: "", score: 0 }]), /unknown or repeated/],
    ["7.0", (scores) => json(scores.map((entry) => ({ ...entry, score: 7 }))), /score/],
    ["truncated JSON", (scores) => ({ text: JSON.stringify({ scores }).slice(0, -20) }), /JSON object|scores/],
    ["refusal", () => ({ refusal: "I would rather not." }), /no complete JSON object/],
    ["empty", () => ({ text: "" }), /no complete JSON object/],
  ];

  test.each(damage)("%s", async (_, damaged, problem) => {
    const { judge, server } = await open((request, index) => (index === 0 ? damaged(honestScores(request)) : honest(request)));
    expect(await judge.score(refundGroup())).toMatchObject({ status: "scored", provenance: { inputTokens: 200, outputTokens: 20 } });
    expect(server.requests).toHaveLength(2);
    expect(server.requests[1]?.messages.at(-1)?.content).toMatch(problem);
  });

  test.each(damage)("%s, every time: a typed error after three asks", async (_, damaged) => {
    const { judge, server } = await open((request) => damaged(honestScores({ ...request, messages: request.messages.slice(0, 2) })));
    expect(await judge.score(refundGroup())).toMatchObject({ status: "rejected", error: { code: "judge_reply_invalid" } });
    expect(server.requests).toHaveLength(3);
  });

  test("text around the JSON costs no second ask", async () => {
    const { judge, server } = await open((request) => ({
      text: `Here you are: ${JSON.stringify({ scores: honestScores(request) })} Bye!`,
    }));
    expect(await judge.score(refundGroup())).toMatchObject({ status: "scored" });
    expect(server.requests).toHaveLength(1);
  });
});

describe("an outage is no data", () => {
  test("down", async () => {
    const { judge, server } = await open(honest, { timeoutMs: 500 });
    await server.close();
    expect(await judge.score(refundGroup())).toMatchObject({ status: "retryable", error: { code: "judge_unavailable", retryable: true } });
  });

  test("slow", async () => {
    const { judge } = await open(() => ({ hang: true }), { timeoutMs: 50 });
    expect(await judge.score(refundGroup())).toMatchObject({ status: "retryable", error: { code: "judge_unavailable" } });
  });

  test("429 names when to come back; once is only a delay", async () => {
    const limited: Behaviour = { status: 429, headers: { "retry-after": "7", "retry-after-ms": "1" } };
    const always = await open(() => limited);
    expect(await always.judge.score(refundGroup())).toMatchObject({ status: "retryable", retryAfterMs: 7000 });
    const once = await open((request, index) => (index === 0 ? limited : honest(request)));
    expect(await once.judge.score(refundGroup())).toMatchObject({ status: "scored" });
  });

  test("a wrong key is nobody's outage", async () => {
    const { judge, server } = await open(() => ({ status: 401, message: "bad key" }));
    expect(await judge.score(refundGroup())).toMatchObject({ status: "rejected", error: { code: "judge_refused", retryable: false } });
    expect(server.requests).toHaveLength(1);
  });
});

test("rewards reproduce from the cache with the network off", async () => {
  const { judge, server, config } = await open(honest);
  const first = await judge.score(refundGroup());
  await server.close();
  const later = createRulerJudge(config, { database, log: silentLog(), now: () => 1, env: {} });
  const second = await later.score(refundGroup());
  if (first.status !== "scored" || second.status !== "scored") throw new Error(second.status);
  expect(second.rewards).toEqual(first.rewards);
  expect(second.provenance).toEqual({ ...first.provenance, cached: true });
});

test("near-ties are asked about again in another order, and the mean decides", async () => {
  // This judge likes whatever comes first a little: alone, that would be the reward.
  const slotted = (request: JudgeRequest): Behaviour =>
    json(honestScores(request).map((entry, slot) => ({ ...entry, score: 0.5 - slot / 1000 })));
  const { judge, server } = await open(slotted);
  const result = await judge.score(statusGroup());
  expect(server.requests).toHaveLength(2);
  expect(server.requests[0]?.messages[1]?.content).not.toBe(server.requests[1]?.messages[1]?.content);
  expect(result).toMatchObject({ status: "scored", provenance: { inputTokens: 200 } });
});

test("a server that knows no JSON schema is asked without one, from then on", async () => {
  const { judge, server } = await open((request) =>
    "response_format" in request.body ? { status: 400, message: "response_format json_schema is not supported" } : honest(request),
  );
  expect(await judge.score(refundGroup())).toMatchObject({ status: "scored" });
  await judge.score({ ...refundGroup(), groupId: "another" });
  expect(server.requests.map(({ body }) => "response_format" in body)).toEqual([true, false, false]);
});

test("a run that has spent its tokens goes on unscored; another run has its own", async () => {
  const { judge } = await open(honest, { maxTokensPerRun: 100 });
  expect(await judge.score(refundGroup())).toMatchObject({ status: "scored" });
  const more = { ...refundGroup(), groupId: "more" };
  expect(await judge.score(more)).toMatchObject({ status: "rejected", error: { code: "judge_budget_spent" } });
  expect(await judge.score({ ...more, runId: "next-run" })).toMatchObject({ status: "scored" });
});

test("no more requests in flight than allowed", async () => {
  let inFlight = 0;
  let most = 0;
  const { judge } = await open(
    async (request) => {
      most = Math.max(most, ++inFlight);
      // Long enough for every request that is allowed to come.
      await new Promise((resolve) => setTimeout(resolve, 20));
      inFlight -= 1;
      return honest(request);
    },
    { concurrency: 2 },
  );
  const groups = Array.from({ length: 5 }, (_, index) => ({ ...refundGroup(), groupId: `parallel-${index}` }));
  const results = await Promise.all(groups.map((group) => judge.score(group)));
  expect(results.map(({ status }) => status)).toEqual(groups.map(() => "scored"));
  expect(most).toBeLessThanOrEqual(2);
});

test("the key comes from a file or the environment, and a missing one is said at once", async () => {
  const directory = mkdtempSync(join(tmpdir(), "judge-key-"));
  try {
    writeFileSync(join(directory, "key"), "from-file\n");
    await expect(open(honest, { apiKeyFile: join(directory, "none") })).rejects.toMatchObject({ code: "judge_key_unreadable" });
    await expect(open(honest, { apiKeyEnv: "UNSET" })).rejects.toMatchObject({ code: "judge_key_unreadable" });
    const { judge } = await open(honest, { apiKeyFile: join(directory, "key") });
    expect(await judge.score(refundGroup())).toMatchObject({ status: "scored" });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
