import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import type { ChatCompletionMessageParam } from "openai/resources/chat/completions";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startShop, type RunningShop } from "../../deploy/quickstart/shop-server.ts";
import { systemPrompt, toolProfiles, tools } from "../../deploy/quickstart/tools.ts";
import { createAgentDriver } from "../../src/rollout/agent/agent-driver.ts";
import { createRolloutListener, type RolloutListener } from "../../src/rollout/agent/listener.ts";
import { agentReplaySchema } from "../../src/config-agent-replay.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import type { TrajectoryGroup } from "../../src/rollout/group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import type { ChatMessage } from "../../src/serving/policy-server.ts";
import { silentLog } from "../../src/log.ts";
import { toolConfig } from "../worlds/world.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { record } from "../quickstart/fake-model-server.ts";
import { cascadeFor, conversation, type Step } from "./build.ts";
import { startHttpPolicy, type HttpPolicy } from "./http-policy.ts";
import { planOf, scenarioOf } from "./plan.ts";

const node = process.execPath;
/** For a machine that is busy with other things: a Node that starts may take its time. */
const PATIENCE_MS = 90_000;
const untouched = { calls: { lookup_order: 0, refund_policy: 0, issue_refund: 0 }, writes: 0 };
const quickstartAgent = fileURLToPath(new URL("../../deploy/quickstart/agent.ts", import.meta.url));
const steps: Step[] = [
  { tool: "lookup_order", args: { order_id: "A0001" }, result: { order_id: "A0001", item: "mug", status: "shipped", age_days: 3 } },
  { tool: "refund_policy", args: { item: "mug" }, result: { item: "mug", refund_days: 14 } },
  { tool: "issue_refund", args: { order_id: "A0001" }, result: { order_id: "A0001", refunded: true } },
];
const recorded = ((): Trajectory => {
  const plain = conversation("talk", steps, {
    says: "refund A0001",
    tools: tools.map(({ function: { name, description, parameters } }) => ({ name, description, parameters: { ...parameters } })),
  });
  const [, ...rest] = plain.messages;
  return { ...plain, messages: [{ role: "system", parts: [{ type: "text", content: systemPrompt }] }, ...rest] };
})();
const configs = Object.fromEntries(
  Object.entries(toolProfiles).map(([name, { entityPaths, ...profile }]) => [
    name,
    toolConfig({ ...profile, entityPaths: [...entityPaths] }),
  ]),
);
const cascade = cascadeFor([recorded], { configs });
/** Most members refund, some only look. */
const policy = (messages: readonly ChatMessage[], random: { next(): number }) => {
  const turn = messages.filter(({ role }) => role === "assistant").length;
  const step = steps[turn];
  if (step === undefined || (turn === 1 && random.next() < 0.3)) return { reply: "Done." };
  return { calls: [{ tool: step.tool, args: step.args }] };
};

let model: HttpPolicy;
let listener: RolloutListener;
let shop: RunningShop;

beforeAll(async () => {
  model = await startHttpPolicy(policy);
  listener = createRolloutListener({ host: "127.0.0.1", port: 0 });
  await listener.start();
  shop = await startShop({ orders: [{ orderId: "A0001", item: "mug", status: "shipped", ageDays: 3, refunded: false }] });
});

afterAll(async () => {
  await Promise.all([model.close(), listener.close(), shop.close()]);
});

const driverOf = (config: unknown) =>
  createAgentDriver(agentReplaySchema.parse(config), {
    listener,
    env: { ...process.env, SHOP_URL: shop.url, OPENAI_API_KEY: "upstream" },
    log: silentLog(),
  });

const quickstart = {
  command: [node, "--disable-warning=ExperimentalWarning", quickstartAgent],
  env: { PORT: "{port}", SHOP_URL: "{toolsOrigin}", MODEL: "shop-support" },
  readyUrl: "http://127.0.0.1:{port}/health",
  request: {
    url: "http://127.0.0.1:{port}/conversations",
    body: { conversationId: "{conversationId}", userId: "{userId}", message: "{message}" },
  },
  timeoutMs: PATIENCE_MS,
};

describe("the quickstart's agent, unchanged", () => {
  test("makes the group that the loop makes, and never reaches the shop", { timeout: PATIENCE_MS }, async () => {
    const scenario = { ...scenarioOf(recorded), mode: "agent" as const };
    const plan = planOf(recorded, model.policyServer, { scenario, cascade, agentDriver: driverOf(quickstart), groupSize: 3 });
    const [byAgent, byLoop] = await Promise.all([rolloutGroup(plan), rolloutGroup({ ...plan, scenario: { ...scenario, mode: "loop" } })]);
    expect(byAgent.members.map(({ end }) => end)).toEqual(byLoop.members.map(() => ({ status: "completed" })));
    const bytes = (group: TrajectoryGroup): string => new TextDecoder().decode(encodeGroup({ ...group, played: { mode: "loop" } }));
    expect(bytes(byAgent)).toBe(bytes(byLoop));
    expect([byAgent.played, byLoop.played]).toEqual([{ mode: "agent" }, { mode: "loop" }]);
    expect(shop.shop.counters()).toEqual(untouched);
  });
});

/** A program that asks its model once with its own pid as the message, then does what `then` says. */
const asking = (then: string, change = ""): string[] => [
  node,
  "-e",
  `(async () => {
    const base = process.env.OPENAI_BASE_URL${change};
    await fetch(base + "/chat/completions", { method: "POST", body: JSON.stringify({ messages: [{ role: "user", content: String(process.pid) }] }) });
    ${then}
  })()`,
];
const pidOf = (messages: unknown): number => Number(/"(\d+)"/.exec(JSON.stringify(messages))?.[1]);
const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe("an agent that goes wrong", () => {
  const one = async (config: Record<string, unknown>) => {
    const agentDriver = driverOf({ timeoutMs: PATIENCE_MS, ...config });
    const scenario = { ...scenarioOf(recorded), mode: "agent" as const };
    const { members } = await rolloutGroup(planOf(recorded, model.policyServer, { scenario, cascade, agentDriver, groupSize: 1 }));
    return members[0]!;
  };
  const masked = (cause: string) => ({ status: "masked", cause });

  test.each([
    ["dies by kill -9", { command: asking("process.kill(process.pid, 'SIGKILL')") }, "agent_failed", 1],
    ["ends with an error", { command: asking("process.exit(3)") }, "agent_failed", 1],
    ["cannot be started", { command: ["/nowhere/agent"] }, "agent_failed", 0],
    ["hangs", { command: [node, "-e", "setInterval(() => {}, 1000)"], timeoutMs: 300 }, "agent_timeout", 0],
    ["talks with a wrong token", { command: asking("", ".replace('/rollout/', '/rollout/wrong')") }, "agent_failed", 0],
    ["says its reply without asking the model", { command: [node, "-e", ""] }, "agent_failed", 0],
    ["serves nobody", { request: { url: "http://127.0.0.1:9/", body: {} } }, "agent_failed", 0],
    ["serves HTTP and dies before it is ready", { ...quickstart, command: [node, "-e", ""] }, "agent_failed", 0],
  ])("%s", { timeout: PATIENCE_MS }, async (_, config, cause, calls) => {
    const before = model.requests.length;
    const member = await one(config);
    expect(member.end).toEqual(masked(cause));
    expect(member.calls).toHaveLength(calls);
    const asked = model.requests.slice(before).map(({ messages }) => pidOf(messages));
    expect(asked.filter(isRunning)).toEqual([]);
  });

  test("asks for samples that are not the policy's own", { timeout: PATIENCE_MS }, async () => {
    const body = JSON.stringify({ messages: [{ role: "user", content: "x" }], response_format: { type: "json_object" } });
    const ask = `fetch(process.env.OPENAI_BASE_URL + "/chat/completions", { method: "POST", body: ${JSON.stringify(body)} })`;
    const member = await one({ command: [node, "-e", `${ask}.then(() => setInterval(() => {}, 1000))`] });
    expect([member.end, member.calls]).toEqual([masked("unsupported_request"), []]);
  });

  test("has nothing of this process's environment but what it needs to run", { timeout: PATIENCE_MS }, async () => {
    const tell = `fetch(process.env.OPENAI_BASE_URL + "/chat/completions", { method: "POST", body: JSON.stringify({ messages: [{ role: "user", content: JSON.stringify(process.env) }] }) })`;
    await one({ command: [node, "-e", tell] });
    const [{ content } = { content: "" }] = model.requests.at(-1)!["messages"] as { content: string }[];
    const env = JSON.parse(content) as Record<string, string>;
    const known = ["PATH", "LANG", "LC_ALL", "TZ", "TMPDIR"];
    expect(Object.keys(env).filter((name) => !known.includes(name) && !/^(OPENAI|OTEL|NIGHTSHIFT)_/.test(name))).toEqual([]);
    expect(env["OPENAI_API_KEY"]).not.toBe("upstream");
    expect(env["OTEL_EXPORTER_OTLP_ENDPOINT"]).toMatch(/\/otlp$/);
  });
});

test("a rollout that the run's abort ends rejects, and leaves no process behind", { timeout: PATIENCE_MS }, async () => {
  const stop = new AbortController();
  const before = model.requests.length;
  const agentDriver = driverOf({ command: asking("setInterval(() => {}, 1000)") });
  const plan = planOf(recorded, model.policyServer, {
    scenario: { ...scenarioOf(recorded), mode: "agent" },
    cascade,
    agentDriver,
    groupSize: 1,
  });
  const running = rolloutGroup({ ...plan, signal: stop.signal });
  await expect.poll(() => model.requests.length, { timeout: PATIENCE_MS }).toBe(before + 1);
  const pid = pidOf(model.requests.at(-1)!["messages"]);
  expect(isRunning(pid)).toBe(true);
  stop.abort();
  await expect(running).rejects.toThrow(/abort/i);
  await expect.poll(() => isRunning(pid), { timeout: 5_000 }).toBe(false);
});

describe("an agent that runs already, one for all rollouts", () => {
  const turns = (says: string): Trajectory["messages"] => [
    { role: "user", parts: [{ type: "text", content: says }] },
    { role: "assistant", parts: [{ type: "text", content: "Done." }] },
  ];
  const talk: Trajectory = { ...recorded, messages: [...recorded.messages, ...turns("and now?"), ...turns("{message}, you said?")] };

  /** Keeps its conversations by id, and is told with every message where its model and tools are. */
  const startAgent = async () => {
    const kept = new Map<string, ChatCompletionMessageParam[]>();
    return record(async ({ body }) => {
      const { conversation: id, text, base, key, tools: toolsUrl } = body as Record<string, string>;
      const messages = kept.get(id!) ?? [{ role: "system", content: systemPrompt }];
      kept.set(id!, messages);
      messages.push({ role: "user", content: text! });
      const client = new OpenAI({ baseURL: base, apiKey: key, maxRetries: 0 });
      for (;;) {
        const completion = await client.chat.completions.create({ model: "any", messages, tools: [...tools] });
        const { message } = completion.choices[0]!;
        messages.push(message);
        const calls = (message.tool_calls ?? []).filter((call) => call.type === "function");
        if (calls.length === 0) return { status: 200, body: { reply: message.content } };
        for (const { id: callId, function: asked } of calls) {
          const answer = await fetch(`${toolsUrl}/${asked.name}`, { method: "POST", body: asked.arguments });
          messages.push({ role: "tool", tool_call_id: callId, content: await answer.text() });
        }
      }
    });
  };

  test(
    "is told with each message where its model and tools are; the user's turns go into one conversation",
    { timeout: PATIENCE_MS },
    async () => {
      const agent = await startAgent();
      const body = { conversation: "{conversationId}", text: "{message}", base: "{openaiBaseUrl}", key: "{apiKey}", tools: "{toolsUrl}" };
      const scenario = { ...scenarioOf(talk), mode: "agent" as const };
      const agentDriver = driverOf({ request: { url: `${agent.url}/talk`, body } });
      const plan = planOf(talk, model.policyServer, { scenario, cascade, agentDriver, groupSize: 3 });
      const [byAgent, byLoop] = await Promise.all([rolloutGroup(plan), rolloutGroup({ ...plan, scenario: { ...scenario, mode: "loop" } })]);
      expect(byAgent.members.map(({ end }) => end)).toEqual(byLoop.members.map(() => ({ status: "completed" })));
      expect(byAgent.members).toEqual(byLoop.members);
      // What a user says is never read as a placeholder.
      expect(agent.received.filter(({ body: asked }) => asked["text"] === "{message}, you said?")).toHaveLength(3);
      await agent.close();
    },
  );

  test("that answers with an error has failed", async () => {
    const agent = await record(() => ({ status: 500, body: {} }));
    const scenario = { ...scenarioOf(recorded), mode: "agent" as const };
    const agentDriver = driverOf({ request: { url: agent.url, body: {} } });
    const { members } = await rolloutGroup(planOf(recorded, model.policyServer, { scenario, cascade, agentDriver, groupSize: 1 }));
    expect(members[0]?.end).toEqual({ status: "masked", cause: "agent_failed" });
    await agent.close();
  });
});

test.each([
  [{}, /name a command, a request, or both/],
  [{ command: ["agent", "{massage}"] }, /\{massage\} is no placeholder; there are \{message\}/],
  [{ request: { url: "http://127.0.0.1:{port}/", body: {} } }, /there is no command/],
  [{ command: ["agent"], env: { FIRST: "{message}" }, request: { url: "http://x/", body: {} } }, /\{message\} belongs into request/],
])("a configuration that cannot work says why: %o", (config, problem) => {
  const parsed = agentReplaySchema.safeParse(config);
  expect(parsed.error?.issues.map(({ message }) => message).join("; ")).toMatch(problem);
});
