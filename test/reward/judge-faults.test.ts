import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import type { LlmJudgeConfig } from "../../src/reward/judge-client.ts";
import { createRulerJudge } from "../../src/reward/judge-ruler.ts";
import type { JudgeResult } from "../../src/reward/judge.ts";
import type { TrajectoryGroup } from "../../src/rollout/group.ts";
import type { Database } from "../../src/store/database.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { injectionGroup, refundGroup } from "./groups.ts";
import { honestScores, startJudgeServer, type Behaviour, type JudgeRequest } from "./judge-server.ts";

/** Every way in which a judge can be away or wrong ends in scores that it really gave, or in a typed error: never in a zero that nobody gave. */
let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

const NOW_MS = Date.parse("2026-11-22T12:00:00Z");
const json = (scores: unknown): Behaviour => ({ text: JSON.stringify({ scores }) });
const honest = honestScores;

let judges = 0;
async function scoreWith(
  behave: (request: JudgeRequest, index: number) => Behaviour,
  { group = refundGroup(), ...change }: Partial<LlmJudgeConfig> & { group?: TrajectoryGroup } = {},
): Promise<{ result: JudgeResult; requests: number }> {
  const server = await startJudgeServer(behave);
  const config: LlmJudgeConfig = {
    ...{ driver: "ruler", baseUrl: server.url, model: `faulty-${++judges}`, timeoutMs: 5_000, concurrency: 4, maxTokensPerRun: 1_000_000 },
    ...change,
  };
  const judge = createRulerJudge(config, { database, log: silentLog(), now: () => NOW_MS, env: {} });
  const result = await judge.score(group);
  await server.close();
  return { result, requests: server.requests.length };
}

const change = (more: object) => (request: JudgeRequest) => json(honest(request).map((entry) => ({ ...entry, ...more })));
const raw = (text: string) => (): Behaviour => ({ text });
/** Written by hand: JSON has neither NaN nor Infinity, and servers write them all the same. */
const scored = (score: string) => (request: JudgeRequest) => ({
  text: `{"scores": [${honest(request)
    .map(({ id }) => `{"id": "${id}", "explanation": "", "score": ${score}}`)
    .join()}]}`,
});
const HUGE = "x".repeat(3 * 1024 * 1024);

const UNUSABLE: [string, (request: JudgeRequest) => Behaviour][] = [
  ["missing id", (request) => json(honest(request).slice(1))],
  ["extra id", (request) => json([...honest(request), { id: "99", explanation: "", score: 0 }])],
  ["duplicate id", (request) => json([...honest(request), ...honest(request).slice(0, 1)])],
  ["one id twice, another missing", (request) => json(honest(request).map((entry) => ({ ...entry, id: "1" })))],
  ["id as a number", (request) => json(honest(request).map((entry) => ({ ...entry, id: Number(entry.id) })))],
  ["7.0", change({ score: 7 })],
  ["-1", change({ score: -1 })],
  ["just above 1", change({ score: 1.0001 })],
  ["NaN", scored("NaN")],
  ["1e999", scored("1e999")],
  ["score as a string", change({ score: "0.9" })],
  ["score null", change({ score: null })],
  ["score true", change({ score: true })],
  ["no score", change({ score: undefined })],
  ["extra key in an entry", change({ bonus: 1 })],
  ["extra key beside scores", (request) => ({ text: JSON.stringify({ scores: honest(request), note: "" }) })],
  ["a bare list", (request) => ({ text: JSON.stringify(honest(request)) })],
  ["a map of scores", (request) => ({ text: JSON.stringify({ scores: Object.fromEntries(honest(request).map(({ id }) => [id, 1])) }) })],
  ["two objects", (request) => ({ text: `${JSON.stringify({ scores: honest(request) })} or {"scores": []}` })],
  ["truncated JSON", (request) => ({ text: JSON.stringify({ scores: honest(request) }).slice(0, -20) })],
  ["text only", raw("All of them are fine.")],
  ["refusal", () => ({ refusal: "I would rather not." })],
  ["refusal as text", raw("I'm sorry, but I can't judge this.")],
  ["empty", raw("")],
  ["blank", raw(" \n ")],
  ["null", raw("null")],
  ["a huge reply", raw(HUGE)],
  ["a huge reply that begins with scores", (request) => ({ text: `${JSON.stringify({ scores: honest(request) })}${HUGE}` })],
  ["no message", () => ({ message: undefined })],
  ["content of another type", () => ({ message: { role: "assistant", content: [{ type: "text", text: "{}" }] } })],
  ["no choices", () => ({ body: "{}" })],
  ["choices of another type", () => ({ body: '{"choices": "none", "usage": "much"}' })],
  ["a page of HTML", () => ({ body: "<html><body>Sign in</body></html>" })],
  ["an empty body", () => ({ body: "" })],
];

describe.each(UNUSABLE)("%s", (_, damage) => {
  test("every time: a typed error after three asks", async () => {
    const { result, requests } = await scoreWith(damage);
    expect(result).toMatchObject({ status: "rejected", error: { code: "judge_reply_invalid" } });
    expect(result).not.toHaveProperty("rewards");
    expect(requests).toBe(3);
  });

  test("once: the scores of the second ask", async () => {
    const { result, requests } = await scoreWith((request, index) => (index === 0 ? damage(request) : json(honest(request))));
    expect(result).toMatchObject({ status: "scored", rewards: [0.9, expect.any(Number), expect.any(Number), 0.1, null] });
    expect(requests).toBe(2);
  });
});

const soon = { "retry-after-ms": "1" };
const OUTAGES: [string, Behaviour, { code: string; retryAfterMs?: number; requests?: number }][] = [
  ["no answer", { hang: true }, { code: "judge_unavailable", retryAfterMs: 5_000 }],
  ["half an answer, then silence", { half: "silent" }, { code: "judge_unavailable", retryAfterMs: 5_000 }],
  ["half an answer, then a broken connection", { half: "cut" }, { code: "judge_unavailable", retryAfterMs: 5_000, requests: 3 }],
  [
    "429, in 7 seconds",
    { status: 429, headers: { ...soon, "retry-after": "7" } },
    { code: "judge_unavailable", retryAfterMs: 7_000, requests: 3 },
  ],
  [
    "429, at a time",
    { status: 429, headers: { ...soon, "retry-after": "Sun, 22 Nov 2026 12:01:30 GMT" } },
    { code: "judge_unavailable", retryAfterMs: 90_000, requests: 1 },
  ],
  [
    "429, in a day",
    { status: 429, headers: { ...soon, "retry-after": "86400" } },
    { code: "judge_unavailable", retryAfterMs: 600_000, requests: 1 },
  ],
  [
    "429, some time ago",
    { status: 429, headers: { ...soon, "retry-after": "-5" } },
    { code: "judge_unavailable", retryAfterMs: 5_000, requests: 3 },
  ],
  ["500", { status: 500, headers: soon }, { code: "judge_unavailable", requests: 3 }],
  ["503", { status: 503, headers: soon }, { code: "judge_unavailable", requests: 3 }],
  ["400", { status: 400 }, { code: "judge_refused", requests: 1 }],
  ["401", { status: 401 }, { code: "judge_refused", requests: 1 }],
  ["404", { status: 404 }, { code: "judge_refused", requests: 1 }],
];

test.each(OUTAGES)("%s is no data", async (_, behaviour, { code, retryAfterMs, requests: times }) => {
  const { result, requests } = await scoreWith(() => behaviour, { timeoutMs: "hang" in behaviour || "half" in behaviour ? 100 : 5_000 });
  expect(result).toMatchObject({ status: code === "judge_refused" ? "rejected" : "retryable", error: { code } });
  if (retryAfterMs !== undefined) expect(result).toMatchObject({ retryAfterMs });
  expect(result).not.toHaveProperty("rewards");
  // What times out may do so before the server has seen it.
  if (times === undefined) expect(requests).toBeLessThanOrEqual(3);
  else expect(requests).toBe(times);
});

describe("a tool result that says what to score", () => {
  test("is shown to the judge inside its fence, and an honest judge's scores come back as they were", async () => {
    const { result } = await scoreWith((request) => json(honest(request).map((entry, index) => ({ ...entry, score: index / 10 }))), {
      group: injectionGroup(),
    });
    if (result.status !== "scored") throw new Error(result.status);
    expect(new Set(result.rewards)).toEqual(new Set([0, 0.1, 0.2]));
  });

  test("a judge that obeys and repeats the scores it was told is asked again, then refused", async () => {
    const obeying = (request: JudgeRequest): Behaviour => ({
      text: /\{"scores":\[\{"id":"1".*?\]\}/.exec(request.messages[1]?.content.replaceAll('\\"', '"') ?? "")?.[0] ?? "nothing to obey",
    });
    const { result, requests } = await scoreWith(obeying, { group: injectionGroup() });
    expect(result).toMatchObject({
      status: "rejected",
      error: { code: "judge_reply_invalid", message: expect.stringMatching(/no score for/) },
    });
    expect(requests).toBe(3);
  });
});
