import { createHash } from "node:crypto";
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
import { group, messagesOf, refundGroup, rollout, statusGroup } from "./groups.ts";
import { attemptsIn, honestScores, startJudgeServer, type Behaviour, type JudgeRequest, type JudgeServer } from "./judge-server.ts";

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

/** Which of the status group's attempts a text is. */
const kindOf = (text: string) => (text.includes("on its way") ? "late" : text.includes("A1024") ? "detour" : "plain");

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

test("what was wrong with a reply is said in the next ask, and its tokens are counted", async () => {
  const { judge, server } = await open((request, index) => (index === 0 ? json(honestScores(request).slice(1)) : honest(request)));
  expect(await judge.score(refundGroup())).toMatchObject({
    status: "scored",
    provenance: { inputTokens: 200, outputTokens: 20, passes: 1 },
  });
  expect(server.requests[1]?.messages.at(-1)?.content).toMatch(/no score for attempt/);
});

test("text around the JSON costs no second ask", async () => {
  const { judge, server } = await open((request) => ({ text: `Here you are: ${JSON.stringify({ scores: honestScores(request) })} Bye!` }));
  expect(await judge.score(refundGroup())).toMatchObject({ status: "scored" });
  expect(server.requests).toHaveLength(1);
});

test("a judge that is down is no data; one that is busy once is only a delay", async () => {
  const down = await open(honest, { timeoutMs: 500 });
  await down.server.close();
  expect(await down.judge.score(refundGroup())).toMatchObject({
    status: "retryable",
    error: { code: "judge_unavailable", retryable: true },
  });
  const busy: Behaviour = { status: 429, headers: { "retry-after-ms": "1" } };
  const once = await open((request, index) => (index === 0 ? busy : honest(request)));
  expect(await once.judge.score(refundGroup())).toMatchObject({ status: "scored" });
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

test("near-ties are asked about again in another order; the mean decides, and how far the passes were apart is kept", async () => {
  // This judge likes whatever comes first a little: alone, that would be the reward.
  const seen: Map<string, number>[] = [];
  const slotted = (request: JudgeRequest): Behaviour => {
    const scores = attemptsIn(request).map(({ id, text }, slot) => ({ id, explanation: kindOf(text), score: 0.5 - slot / 100 }));
    seen.push(new Map(scores.map(({ explanation, score }) => [explanation, score])));
    return json(scores);
  };
  const { judge, server } = await open(slotted);
  const result = await judge.score(statusGroup());
  expect(server.requests).toHaveLength(2);
  expect(server.requests[0]?.messages[1]?.content).not.toBe(server.requests[1]?.messages[1]?.content);
  if (result.status !== "scored") throw new Error(result.status);
  expect(result.provenance).toMatchObject({ inputTokens: 200, outputTokens: 20, passes: 2, elided: false, cached: false });
  for (const [index, kind] of ["plain", "detour", "late", "plain"].entries()) {
    const [first = 0, second = 0] = seen.map((pass) => pass.get(kind));
    expect(result.rewards[index]).toBeCloseTo((first + second) / 2, 12);
    expect(result.spreads[index]).toBeCloseTo(Math.abs(first - second), 12);
  }
});

test("scores that are apart are final: one pass, no spread, its prompt by hash, its money at the configured prices", async () => {
  const { judge, server } = await open(honest, { inputPricePerMillion: 3, outputPricePerMillion: 15 });
  const result = await judge.score(refundGroup());
  const { messages } = server.requests[0] ?? { messages: [] };
  const shown = createHash("sha256").update(JSON.stringify(messages.map(({ content }) => content)));
  expect(result).toMatchObject({
    spreads: [null, null, null, null, null],
    // 100 × 3 + 10 × 15 = 450 millionths.
    provenance: { passes: 1, promptHash: shown.digest("hex"), cost: expect.closeTo(0.00045, 12) },
  });
});

test("the same judge asked again in other orders gives the same rewards, where it looks at nothing but the attempts", async () => {
  const score = { plain: 0.9, detour: 0.6, late: 0.3 } as const;
  const { judge, server } = await open((request) =>
    json(attemptsIn(request).map(({ id, text }) => ({ id, explanation: "", score: score[kindOf(text)] }))),
  );
  const orders = new Set<string>();
  for (const repeat of [0, 1, 2, 3, 4, 5]) {
    expect(await judge.score(statusGroup(), { repeat })).toMatchObject({ rewards: [0.9, 0.6, 0.3, 0.9], provenance: { cached: false } });
    const request = server.requests.at(-1);
    if (request !== undefined)
      orders.add(
        attemptsIn(request)
          .map(({ text }) => kindOf(text))
          .join(),
      );
  }
  expect(server.requests).toHaveLength(6);
  expect(orders.size).toBeGreaterThan(1);
});

describe("an anchor", () => {
  const say = (words: string) => rollout(messagesOf([{ say: words }], "Count."));
  const members = [say("attempt one"), say("attempt two")];
  const scoreOf = (text: string) => (text.includes("recorded") ? 0.6 : text.includes("one") ? 0.9 : 0.1);
  const byContent = (request: JudgeRequest): Behaviour =>
    json(attemptsIn(request).map(({ id, text }) => ({ id, explanation: "seen", score: scoreOf(text) })));

  test("is shown unmarked in a drawn place, has its own score, and is in no member's place", async () => {
    const { judge, server } = await open(byContent);
    const places = new Set<number>();
    for (const seed of "abcdefghijklmnop") {
      const result = await judge.score(group(`anchored-${seed}`, members), { anchor: say("recorded") });
      expect(result).toMatchObject({ rewards: [0.9, 0.1], anchor: { reward: 0.6, spread: null, explanation: "seen" } });
      const request = server.requests.at(-1);
      if (request === undefined) throw new Error("asked");
      const shown = attemptsIn(request);
      places.add(shown.findIndex(({ text }) => text.includes("recorded")));
      // Its lines are those of any other attempt.
      const shape = (text: string) =>
        text.slice(text.indexOf(">"), text.lastIndexOf("</trajectory>")).replace(/attempt one|attempt two|recorded/, "");
      expect(new Set(shown.map(({ text }) => shape(text))).size).toBe(1);
    }
    expect(places.size).toBe(3);
  });

  test("that is what a member did shares its score, and costs no place of its own", async () => {
    const { judge, server } = await open(byContent);
    const result = await judge.score(group("same", members), { anchor: say("attempt two") });
    expect(result).toMatchObject({ rewards: [0.9, 0.1], anchor: { reward: 0.1 } });
    expect(server.requests.map((request) => attemptsIn(request).length)).toEqual([2]);
  });

  test("makes no contest of one member, or of identical ones", async () => {
    const { judge, server } = await open(byContent);
    const anchor = say("recorded");
    expect(await judge.score(group("one", [say("attempt one")]), { anchor })).toEqual({ status: "no_signal", reason: "too_few_members" });
    const same = group("same-members", [say("attempt one"), say("attempt one")]);
    expect(await judge.score(same, { anchor })).toEqual({ status: "no_signal", reason: "identical_members" });
    expect(server.requests).toHaveLength(0);
  });
});

test("a server that knows no JSON schema is asked without one, from then on", async () => {
  const { judge, server } = await open((request) =>
    "response_format" in request.body ? { status: 400, message: "response_format json_schema is not supported" } : honest(request),
  );
  expect(await judge.score(refundGroup())).toMatchObject({ status: "scored" });
  await judge.score({ ...refundGroup(), groupId: "another" });
  expect(server.requests.map(({ body }) => "response_format" in body)).toEqual([true, false, false]);
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
