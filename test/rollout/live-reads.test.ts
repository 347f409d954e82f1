import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { emptyOverlay } from "../../src/rollout/cascade/overlay.ts";
import { checkDrift } from "../../src/rollout/drift-check.ts";
import { createLiveReads, type LiveReadsConfig } from "../../src/rollout/live-reads.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { createOffTape } from "../../src/rollout/off-tape.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import { startOfTrajectory } from "../../src/rollout/start.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { cascadeFor, conversation, lookup, policyOf, refund, shopConfigs, type Step } from "./build.ts";
import { planOf } from "./plan.ts";
import { createScriptedPolicy } from "./scripted-policy.ts";

interface Received {
  path: string;
  authorization: string | undefined;
  body: unknown;
}

const TOKEN = "read-only-secret-token";
let received: Received[] = [];
let behaviour: { status?: number; body?: string; headers?: Record<string, string>; hang?: boolean } = {};
let url = "";
const server = createServer((request: IncomingMessage, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    received.push({
      path: request.url ?? "",
      authorization: request.headers.authorization,
      body: JSON.parse(Buffer.concat(chunks).toString()),
    });
    if (behaviour.hang === true) return;
    response.writeHead(behaviour.status ?? 200, { "content-type": "application/json", ...behaviour.headers });
    response.end(behaviour.body ?? '{"order_id":"A1","item":"lamp","status":"delivered","refunded":false}');
  });
});
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/read`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  received = [];
  behaviour = {};
});

const mine = conversation("mine", [policyOf("lamp")], { says: "where is my order A1, or A2, or <email_1>" });
const known = conversation("B1", [lookup("B1"), refund("B1")], { startMs: -1e6 });

function configOf(
  overrides: Partial<LiveReadsConfig> = {},
  tools: readonly string[] = ["lookup_order", "issue_refund", "find_order", "refund_policy"],
): LiveReadsConfig {
  const tree = {
    agents: {
      shop: {
        model: "m",
        baseModel: "b",
        replay: { liveReads: { tools: Object.fromEntries(tools.map((tool) => [tool, { url }])), ...overrides } },
      },
    },
  };
  return parseConfig(tree).agents["shop"]?.replay.liveReads as LiveReadsConfig;
}

/** The rungs, results and end of one rollout that makes these calls, one a turn, and what was logged. */
async function playing(
  config: LiveReadsConfig,
  steps: readonly Pick<Step, "tool" | "args">[],
  options: { configs?: typeof shopConfigs; own?: Trajectory; groupSize?: number } = {},
) {
  const logged: string[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => void logged.push(line) });
  const policyServer = createScriptedPolicy(({ messages }) => {
    const step = steps[messages.filter(({ role }) => role === "assistant").length];
    return step === undefined ? { reply: "done" } : { calls: [step] };
  });
  const own = options.own ?? mine;
  const group = await rolloutGroup(
    planOf(own, policyServer, {
      cascade: cascadeFor([own, known], { configs: options.configs ?? shopConfigs }),
      offTape: createOffTape("shop", {
        simulator: null,
        user: null,
        liveReads: createLiveReads(config, { token: TOKEN, log, now: () => 86_400_000 }),
      }),
      groupSize: options.groupSize ?? 1,
    }),
  );
  const [member] = group.members;
  const results = member?.messages.flatMap(({ parts }) =>
    parts.flatMap((part) => (part.type === "tool_call_response" ? [String(part["response"])] : [])),
  );
  return { group, journal: member?.journal ?? [], end: member?.end, results, logged: logged.join("\n") };
}

describe("a live read", () => {
  it("answers a listed read that no tape answers, once for all siblings, and is journalled with its time", async () => {
    const { group, journal, results, end } = await playing(configOf(), [lookup("A1")], { groupSize: 3 });
    expect(received).toEqual([
      { path: "/read", authorization: `Bearer ${TOKEN}`, body: { tool: "lookup_order", arguments: { order_id: "A1" } } },
    ]);
    expect(journal).toMatchObject([{ rung: "R6", recordedAtMs: 86_400_000, confidence: 0.8, isError: false }]);
    expect(results).toEqual(['{"order_id":"A1","item":"lamp","status":"delivered","refunded":false}']);
    expect(end).toEqual({ status: "completed" });
    expect(new Set(group.members.map(({ journal: [entry] }) => JSON.stringify(entry))).size).toBe(1);
    expect(group.fidelity).toMatchObject({
      callsByRung: { R6: 3 },
      realShare: 0,
      stalenessMs: 86_400_000,
      weight: expect.closeTo(0.8) as number,
    });
  });

  it("shows the world's own error as one", async () => {
    behaviour = { body: '{"error":"not found"}' };
    expect((await playing(configOf(), [lookup("A1")])).journal).toMatchObject([{ rung: "R6", isError: true }]);
  });

  const again = { order_id: "A1" };
  it.each<[string, Pick<Step, "tool" | "args">[], { configs?: typeof shopConfigs; tools?: string[] }]>([
    ["a write", [refund("A1")], {}],
    ["a tool that nobody described", [{ tool: "lookup_order", args: again }], { configs: without("lookup_order") }],
    [
      "a tool that the scenario does not have",
      [{ tool: "find_order", args: again }],
      { configs: { ...shopConfigs, find_order: shopConfigs["lookup_order"] as never } },
    ],
    ["a tool that is not listed", [lookup("A1")], { tools: ["list_orders"] }],
    ["a tool of another class than read", [policyOf("desk")], {}],
    ["what a tape answers", [policyOf("lamp")], {}],
    ["broken arguments", [{ tool: "lookup_order", args: { order: "A1" } }], {}],
    ["a key that the agent made up", [lookup("Z77")], {}],
    ["somebody who goes by a pseudonym", [lookup("<email_1>")], {}],
  ])("is never made for %s", async (_, steps, { configs, tools }) => {
    const own = conversation("mine", [policyOf("lamp")], {
      says: "where is my order A1, or A2, or <email_1>",
      overrides: { pseudonyms: { "<email_1>": "<email_abcdefgh>" } },
    });
    await playing(configOf({}, tools), steps, { own, ...(configs === undefined ? {} : { configs }) });
    expect(received).toEqual([]);
  });

  it("is never made of what the rollout has written, and still of what it has not", async () => {
    const refunded = conversation("mine", [refund("A1"), policyOf("lamp")], { says: "refund A1 and look at A2" });
    const { journal } = await playing(configOf(), [refund("A1"), lookup("A2"), lookup("A1")], { own: refunded });
    expect(received.map(({ body }) => body)).toEqual([{ tool: "lookup_order", arguments: { order_id: "A2" } }]);
    expect(journal.map(({ rung }) => rung)).toEqual(["R1", "R6", "R7"]);
  });

  it("is never made of a read of everything after any write", async () => {
    const configs = { ...shopConfigs, lookup_order: { ...shopConfigs["lookup_order"], entityPaths: [] } as never };
    const refunded = conversation("mine", [refund("A1"), policyOf("lamp")], { says: "refund A1 and look at A2" });
    await playing(configOf(), [refund("A1"), lookup("A2")], { own: refunded, configs });
    expect(received).toEqual([]);
  });

  it.each([
    ["an error of the server", { status: 500, body: `secret is ${TOKEN}` }, {}],
    ["a redirect, which would carry the credential away", { status: 302, headers: { location: "http://127.0.0.1:1/elsewhere" } }, {}],
    ["an answer that is too long", { body: "x".repeat(5_000) }, { maxBytes: 4_096 }],
    ["no answer in time", { hang: true }, { timeoutMs: 50 }],
  ])("falls through to a miss on %s, and logs no secret", async (_, behave, overrides) => {
    behaviour = behave;
    const { end, logged } = await playing(configOf(overrides), [lookup("A1")]);
    expect(end).toEqual({ status: "masked", cause: "replay_miss" });
    expect(logged).toContain("live_read_failed");
    expect(logged).not.toContain(TOKEN);
  });
});

function without(tool: string): typeof shopConfigs {
  return Object.fromEntries(Object.entries(shopConfigs).filter(([name]) => name !== tool));
}

it("answers a running night's siblings as before, however much a drift check asks in between", async () => {
  const config = configOf({ concurrency: 16, timeoutMs: 60_000 });
  const liveReads = createLiveReads(config, { token: TOKEN, log: pino({ level: "silent" }), now: () => 0 });
  // More than the answers that are kept for siblings.
  const asked = Array.from({ length: 42 }, (_, turn) => Array.from({ length: 100 }, (_item, call) => lookup(`C${turn * 100 + call}`)));
  const many = conversation("many", asked, { says: "all of them" });
  const agent = { ...parseConfig({ agents: { shop: { model: "m", baseModel: "b" } } }).agents["shop"], tools: shopConfigs } as AgentConfig;
  const nowMs = 30 * 86_400_000;
  const recordings = createRecordings({ trajectories: [many, mine], feedback: [], nowMs, config: agent });
  const cascade = recordings.cascade("train");
  const start = startOfTrajectory(mine);
  const situation = { pool: cascade.pool, start, overlay: emptyOverlay() };
  const sibling = () => liveReads.read({ situation, call: cascade.prepare(start, "lookup_order", { order_id: "A1" }), key: "night" });
  const first = await sibling();
  behaviour = { body: '{"order_id":"A1","item":"lamp","status":"lost","refunded":false}' };
  const options = { tools: config.tools, maxWrongShare: 0.2, perTool: 5_000, seed: 1, nowMs, signal: AbortSignal.timeout(60_000) };
  const drift = await checkDrift(recordings, liveReads, { ...options, progress: () => {} });
  expect(drift.find(({ tool }) => tool === "lookup_order")).toMatchObject({ asked: 4_200 });
  expect(await sibling()).toEqual(first);
}, 60_000);
