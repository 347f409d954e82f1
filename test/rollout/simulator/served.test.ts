import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { createAgentOffTape } from "../../../src/app/off-tape.ts";
import { parseConfig, type AgentConfig } from "../../../src/config.ts";
import { silentLog } from "../../../src/log.ts";
import { rolloutGroup } from "../../../src/rollout/loop.ts";
import type { RolloutEnd } from "../../../src/rollout/group.ts";
import type { Database } from "../../../src/store/database.ts";
import { startJudgeServer, type Behaviour, type JudgeRequest, type JudgeServer } from "../../reward/judge-server.ts";
import { memoryDatabase } from "../../store/memory-database.ts";
import { cascadeFor, conversation, lookup, policyOf } from "../build.ts";
import { planOf } from "../plan.ts";
import { createScriptedPolicy } from "../scripted-policy.ts";
import { render } from "../scripted-llm.ts";

/** The simulator as it is wired: the LLM client, its cache in the database, and an OpenAI-compatible server. */
let database: Database;
const servers: JudgeServer[] = [];
beforeAll(async () => {
  database = await memoryDatabase();
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});
afterAll(() => database.close());

const mine = conversation("mine", [policyOf("lamp")], { says: "where is my order A1" });
const other = conversation("B1", [lookup("B1", "shipped")], { startMs: -1e6 });
const completed: RolloutEnd = { status: "completed" };
const missed: RolloutEnd = { status: "masked", cause: "replay_miss" };
const down: RolloutEnd = { status: "masked", cause: "infrastructure" };

let models = 0;
/** A server, and a rollout against it as often as wanted; every server's model has a cache of its own. */
async function open(behave: (request: JudgeRequest, index: number) => Behaviour, change: Record<string, unknown> = {}) {
  const server = await startJudgeServer(behave);
  servers.push(server);
  const simulator = { baseUrl: server.url, model: `words-${(models += 1)}`, timeoutMs: 5_000, apiKeyEnv: "KEY", ...change };
  const config = parseConfig({ agents: { shop: { model: "m", baseModel: "b", replay: { simulator } } } }).agents["shop"] as AgentConfig;
  const play = async (overrides: { runId?: string; iteration?: number } = {}) => {
    const policyServer = createScriptedPolicy(({ messages }) => (messages.length < 3 ? { calls: [lookup("A1")] } : { reply: "done" }));
    // A new one each time, as after a restart: only what the database keeps is shared.
    const offTape = createAgentOffTape("shop", config, { database, log: silentLog(), now: () => 0, env: { KEY: "secret" } });
    const limits = { maxCalls: 16, maxSimulatedShare: 1, maxAttempts: 1 };
    const group = await rolloutGroup(planOf(mine, policyServer, { cascade: cascadeFor([mine, other]), offTape, limits, ...overrides }));
    return { ends: group.members.map(({ end }) => end), journal: group.members[0]?.journal ?? [], group };
  };
  return { server, play };
}

/** A model that does as the prompt says. */
const honest = (request: JudgeRequest): Behaviour => ({
  text: render({ system: request.messages[0]?.content ?? "", user: request.messages[1]?.content ?? "" } as Parameters<typeof render>[0]),
});

it("asks once for a group, under the answer's schema, and never again for the same: not after a restart, not in another run", async () => {
  const { server, play } = await open(honest);
  const first = await play();
  expect(first.ends).toEqual([completed, completed, completed]);
  expect(first.journal).toMatchObject([{ rung: "R5", simulator: { model: `words-${models}` } }]);
  const again = await play();
  expect(again.group).toEqual(first.group);
  const later = await play({ runId: "run-2", iteration: 3 });
  expect(later.ends).toEqual(first.ends);
  expect(server.requests).toHaveLength(1);
  expect(server.requests[0]?.body["response_format"]).toMatchObject({
    json_schema: { schema: { properties: { result: { required: ["item", "order_id", "refunded", "status"] } } } },
  });
});

it("belongs to whoever is in it: the kept reply names the tapes and the scenario", async () => {
  const { play } = await open(honest);
  const { group } = await play();
  const rows = await database.kysely
    .selectFrom("judge_sources")
    .select("source")
    .where("source", "in", ["B1@1", group.scenarioId])
    .execute();
  expect(new Set(rows.map(({ source }) => source))).toEqual(new Set(["B1@1", group.scenarioId]));
});

it("does not execute or repeat what a model says beside its answer", async () => {
  const { play } = await open((request) => ({ text: `\`\`\`json\n${(honest(request) as { text: string }).text}\n\`\`\`` }));
  expect((await play()).ends).toEqual([completed, completed, completed]);
});

it.each<[string, (request: JudgeRequest, index: number) => Behaviour, Record<string, unknown>, RolloutEnd]>([
  [
    "a reply off the schema, then a good one",
    (request, index) => (index === 0 ? { text: '{"result": {"order_id": 7}}' } : honest(request)),
    {},
    completed,
  ],
  ["replies off the schema for ever", () => ({ text: '{"result": {}}' }), {}, missed],
  ["a refusal", () => ({ refusal: "I would rather not" }), {}, missed],
  [
    "a server that takes no schema",
    (request) => ("response_format" in request.body ? { status: 400, message: "response_format is unknown" } : honest(request)),
    {},
    completed,
  ],
  ["a wrong key", () => ({ status: 401 }), {}, missed],
  ["no room", () => ({ status: 429, headers: { "retry-after-ms": "1" } }), {}, down],
  ["a broken server", () => ({ status: 503, headers: { "retry-after-ms": "1" } }), {}, down],
  ["a server that never answers", () => ({ hang: true }), { timeoutMs: 30 }, down],
])("%s", async (_, behave, change, end) => {
  const { play } = await open(behave, change);
  expect((await play()).ends).toEqual([end, end, end]);
});

it("asks nothing more once a run's tokens are spent", async () => {
  const { server, play } = await open(() => ({ text: "{}" }), { maxTokensPerRun: 1200 });
  // A budget is kept by run: this one has spent nothing yet.
  expect((await play({ runId: "spender" })).ends).toEqual([missed, missed, missed]);
  expect(server.requests).toHaveLength(3);
  expect((await play({ runId: "spender", iteration: 7 })).ends).toEqual([missed, missed, missed]);
  expect(server.requests.length).toBeLessThan(6);
  expect(server.requests.every(({ messages }) => !JSON.stringify(messages).includes("secret"))).toBe(true);
});
