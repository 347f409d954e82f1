import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { silentLog } from "../../../src/log.ts";
import { rolloutGroup } from "../../../src/rollout/loop.ts";
import { rolloutPatiently } from "../../../src/rollout/patience.ts";
import { isToolCallResponse } from "../../../src/trace/message.ts";
import { createScriptedPolicy, type Move } from "../scripted-policy.ts";
import { livePlan, memberOf, openBudget, taskScenario, worldOf } from "./live.ts";
import { startSandboxServer, type SandboxServer } from "./sandbox-server.ts";
import { said } from "./sandbox-shop.ts";

const stdio = { command: [process.execPath, fileURLToPath(new URL("stdio-shop.ts", import.meta.url))] };
let sandbox: SandboxServer;
beforeEach(async () => {
  sandbox = await startSandboxServer();
});
afterEach(() => sandbox.close());

const refund = { tool: "issue_refund", arguments: '{"order_id":"A1"}' };
const http = () => ({ server: { url: sandbox.url } });
/** A session over the tools that the world lists. */
async function open(given: Parameters<typeof worldOf>[0], budget = openBudget()) {
  const world = worldOf(given);
  return world.open(memberOf(taskScenario(await world.tools())), budget);
}

/** Asks for one refund, then says what it was told. */
const refundOnce = createPolicy((turn) =>
  turn === 0 ? { calls: [{ tool: "issue_refund", args: { order_id: "A1" } }] } : { reply: "Done." },
);
function createPolicy(script: (turn: number, seed: number) => Move) {
  return () =>
    createScriptedPolicy(({ messages, sampling }) => script(messages.filter(({ role }) => role === "assistant").length, sampling.seed));
}
const answersOf = (members: Awaited<ReturnType<typeof rolloutGroup>>["members"]) =>
  members.map(({ messages }) => messages.flatMap(({ parts }) => parts.filter(isToolCallResponse)).map(({ response }) => response));

describe("a sandbox over streamable HTTP", () => {
  test("lists its tools in its order, and is asked with the bearer token alone", async () => {
    const world = worldOf(http(), "s3cret");
    expect((await world.tools()).map(({ name }) => name)).toEqual(["lookup_order", "issue_refund", "reset_shop"]);
    expect(new Set(sandbox.credentials)).toEqual(new Set(["Bearer s3cret"]));
    expect(sandbox.shop.calls).toEqual([]);
  });

  test("writes really happen; every answer is R6 and the journal says when", async () => {
    const tools = await open(http());
    const { results, end } = await tools.answer([refund, { tool: "lookup_order", arguments: { order_id: "A1" } }]);
    await tools.close?.();
    expect(end).toBeNull();
    expect(results.map(({ text }) => text)).toEqual(['{"refunded":"A1"}', '{"item":"lamp","refunded":true}']);
    expect(sandbox.shop.orders.get("A1")?.refunded).toBe(true);
    const [first, second] = tools.journal();
    expect(first).toMatchObject({
      step: 0,
      tool: "issue_refund",
      rung: "R6",
      confidence: 0.8,
      isError: false,
      recordedAtMs: 1_800_000_000_000,
    });
    expect(second?.stateBefore).toBe(first?.stateAfter);
    expect(second?.stateBefore).not.toBe(first?.stateBefore);
  });

  test("what the agent gets wrong is an answer: a tool's error, a refusal, and what is sent nowhere", async () => {
    sandbox.shop.override = (tool) => {
      if (tool === "reset_shop") throw new Error("only on Mondays");
      return null;
    };
    const tools = await open(http());
    const asked = [
      { tool: "lookup_order", arguments: '{"order_id":"Z9"}' },
      { tool: "delete_everything", arguments: "{}" },
      { tool: "issue_refund", arguments: '{"order_id":' },
      { tool: "reset_shop", arguments: "" },
    ];
    const { results, end } = await tools.answer(asked);
    await tools.close?.();
    expect(end).toBeNull();
    expect(results.map(({ text, isError }) => [text, isError])).toEqual([
      ["no such order", true],
      ['{"error":"unknown tool: delete_everything"}', true],
      ['{"error":"invalid arguments: no JSON object"}', true],
      [expect.stringContaining("Mondays"), true],
    ]);
    expect(tools.journal().map(({ rung }) => rung)).toEqual(["R6", "agent_error", "agent_error", "R6"]);
    expect(sandbox.shop.calls.map(({ tool }) => tool)).toEqual(["lookup_order", "reset_shop"]);
  });

  test("an answer of five megabytes is cut off at a character, and says so", async () => {
    sandbox.shop.override = () => said("ü".repeat(2_500_000));
    const tools = await open({ ...http(), maxAnswerBytes: 1_001 });
    const { results } = await tools.answer([refund]);
    await tools.close?.();
    expect(results[0]?.text).toBe(`${"ü".repeat(500)}\n[The answer has 5000000 bytes. What follows is left out.]`);
  });

  test("an answer that does not end masks the rollout", async () => {
    sandbox.shop.override = () => said("x".repeat(20 * 1024 * 1024));
    const tools = await open({ ...http(), timeoutMs: 3_000 });
    const { results, end } = await tools.answer([refund]);
    await tools.close?.();
    expect(results).toEqual([]);
    expect(end).toEqual({ status: "masked", cause: "infrastructure" });
  });

  test("parts that are no text have a line in their place", async () => {
    sandbox.shop.override = () => ({
      content: [
        { type: "text", text: "See:" },
        { type: "image", data: "AAAA", mimeType: "image/png" },
        { type: "resource", resource: { uri: "file:///a", text: "inside" } },
        { type: "resource_link", uri: "file:///b", name: "b" },
      ],
    });
    const tools = await open(http());
    const { results } = await tools.answer([refund]);
    expect(results[0]?.text).toBe("See:\n[image, image/png]\ninside\n[resource file:///b]");
    sandbox.shop.override = () => ({ content: [], structuredContent: { a: 1 } });
    expect((await tools.answer([refund])).results[0]?.text).toBe('{"a":1}');
    await tools.close?.();
  });

  test("the same call with the same answer a third time is a loop, and is not made", async () => {
    const tools = await open(http());
    const lookup = { tool: "lookup_order", arguments: '{"order_id":"A2"}' };
    // The refund's answer changes from the first to the second time: no loop.
    expect((await tools.answer([refund, refund, refund])).end).toBeNull();
    expect(await tools.answer([lookup, lookup, lookup])).toMatchObject({ end: { status: "truncated", cause: "loop" } });
    await tools.close?.();
    expect(sandbox.shop.calls.filter(({ tool }) => tool === "lookup_order")).toHaveLength(2);
  });

  test("a tool that takes too long masks the rollout", async () => {
    let answered = (): void => undefined;
    sandbox.shop.override = () => new Promise((resolve) => (answered = () => resolve(said("late"))));
    const tools = await open({ ...http(), timeoutMs: 100 });
    expect((await tools.answer([refund])).end).toEqual({ status: "masked", cause: "infrastructure" });
    answered();
    await tools.close?.();
  });

  test("a budget that is spent masks what comes after it, and no more calls are made", async () => {
    const tools = await open(http(), openBudget(1));
    const { results, end } = await tools.answer([refund, refund]);
    await tools.close?.();
    expect(results).toHaveLength(1);
    expect(end).toEqual({ status: "masked", cause: "infrastructure" });
    expect(sandbox.shop.calls).toHaveLength(1);
  });

  test.each([
    ["refuses", () => new Response("no", { status: 401 }), "HTTP 401"],
    ["redirects", () => new Response(null, { status: 307, headers: { location: "http://127.0.0.1:9/" } }), ""],
    ["talks nonsense", () => new Response("<html>", { status: 200, headers: { "content-type": "text/html" } }), ""],
  ])("a server that %s is unavailable, by an error that quotes nothing of it", async (_, refuse, problem) => {
    sandbox.refuse = refuse;
    const listing = worldOf({ ...http(), timeoutMs: 2_000 }).tools();
    await expect(listing).rejects.toMatchObject({ code: "bootstrap_server_unavailable", message: expect.stringContaining(problem) });
    await expect(listing).rejects.not.toMatchObject({ message: expect.stringMatching(/html|\/mcp/) });
  });

  test("a server that is not there, or never answers, is unavailable", async () => {
    await sandbox.close();
    await expect(worldOf(http()).tools()).rejects.toMatchObject({ code: "bootstrap_server_unavailable" });
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/mcp`;
    await expect(worldOf({ server: { url }, timeoutMs: 200 }).tools()).rejects.toMatchObject({ code: "bootstrap_server_unavailable" });
    silent.closeAllConnections();
    silent.close();
  });
});

describe("groups", () => {
  test("with a reset every member meets the same world, one after another; the agent does not get that tool", async () => {
    const world = worldOf({ ...http(), reset: { tool: "reset_shop" } });
    expect(world).toMatchObject({ isolation: "reset", concurrency: 1 });
    const scenario = taskScenario(await world.tools());
    expect(scenario.start.tools.map(({ name }) => name)).toEqual(["lookup_order", "issue_refund"]);
    const group = await rolloutGroup(livePlan(world, scenario, refundOnce()));
    expect(answersOf(group.members)).toEqual(Array.from({ length: 3 }, () => ['{"refunded":"A1"}']));
    expect(group.fidelity).toMatchObject({ live: "reset", weight: 1, decision: "train", callsByRung: { R6: 3 }, simulatedShare: 0 });
    expect(group.played).toEqual({ mode: "loop", modeReason: "live" });
    expect(sandbox.shop.calls.map(({ tool }) => tool)).toEqual(Array.from({ length: 3 }, () => ["reset_shop", "issue_refund"]).flat());
  });

  test("without one each meets what those before it wrote, and the group says so and weighs less", async () => {
    const world = worldOf(http());
    expect(world).toMatchObject({ isolation: "none", concurrency: 1 });
    const group = await rolloutGroup(livePlan(world, taskScenario(await world.tools()), refundOnce()));
    expect(answersOf(group.members)).toEqual([['{"refunded":"A1"}'], ["already refunded"], ["already refunded"]]);
    expect(group.fidelity).toMatchObject({ live: "none", weight: expect.closeTo(0.8, 12), decision: "downweight" });
  });

  test.each([
    ["a command", { command: [process.execPath, "-e", "process.exit(0)"] }, { command: [process.execPath, "-e", "process.exit(3)"] }],
    ["a url", { url: "/ok" }, { url: "/bad" }],
  ])("a reset by %s is made before the first call; where it fails the member is masked", async (_, good, bad) => {
    const hook = createServer((request, response) => {
      if (request.url === "/ok") sandbox.shop.reset();
      response.writeHead(request.url === "/ok" ? 204 : 500).end();
    });
    await new Promise<void>((resolve) => hook.listen(0, "127.0.0.1", resolve));
    const at = (reset: object) =>
      "url" in reset ? { url: `http://127.0.0.1:${(hook.address() as AddressInfo).port}${String(reset.url)}` } : reset;
    const fine = await open({ ...http(), reset: at(good) });
    expect((await fine.answer([refund])).end).toBeNull();
    await fine.close?.();
    const broken = await open({ ...http(), reset: at(bad) });
    const before = sandbox.shop.calls.length;
    expect((await broken.answer([refund])).end).toEqual({ status: "masked", cause: "infrastructure" });
    await broken.close?.();
    expect(sandbox.shop.calls).toHaveLength(before);
    hook.closeAllConnections();
    hook.close();
  });

  test("a server that dies in the middle masks, and the others keep their rollouts when it is back", async () => {
    const dieAtSecondRefund = (): void => {
      let refunds = 0;
      sandbox.shop.calls.length = 0;
      sandbox.refuse = () => null;
      sandbox.shop.override = (tool) => {
        if (tool !== "issue_refund" || ++refunds !== 2) return null;
        // What is in flight gets no answer any more, and nobody else does.
        sandbox.refuse = () => new Response(null, { status: 502 });
        return new Promise(() => undefined);
      };
    };
    const world = worldOf({ ...http(), timeoutMs: 300, reset: { tool: "reset_shop" } });
    const plan = livePlan(world, taskScenario(await world.tools()), refundOnce());
    dieAtSecondRefund();
    const first = await rolloutGroup(plan);
    const masked = { status: "masked", cause: "infrastructure" };
    expect(first.members.map(({ end }) => end)).toEqual([{ status: "completed" }, masked, masked]);
    expect(first.fidelity).toMatchObject({ decision: "drop", unmasked: 1, reasons: ["few_unmasked", "masked_by_infrastructure"] });
    dieAtSecondRefund();
    const waits: number[] = [];
    const wait = (ms: number): Promise<void> => {
      waits.push(ms);
      sandbox.refuse = () => null;
      return Promise.resolve();
    };
    const group = await rolloutPatiently(plan, { log: silentLog(), wait });
    expect(waits).toEqual([2_000]);
    expect(group.members.map(({ end }) => end)).toEqual(Array.from({ length: 3 }, () => ({ status: "completed" })));
    expect(group.members.map(({ rolloutId }) => rolloutId)).toEqual(first.members.map(({ rolloutId }) => rolloutId));
    // The first member's, the one that got no answer, and those of the two that were played again.
    expect(sandbox.shop.calls.filter(({ tool }) => tool === "issue_refund")).toHaveLength(4);
  });

  test("nothing is waited for once the sandbox is not to be called any more", async () => {
    sandbox.refuse = () => new Response(null, { status: 502 });
    const world = worldOf({ ...http(), timeoutMs: 300 });
    const plan = livePlan(world, taskScenario([{ name: "issue_refund" }]), refundOnce());
    const wait = (): Promise<void> => Promise.reject(new Error("waited"));
    const group = await rolloutPatiently(plan, { log: silentLog(), wait, isOpen: () => false });
    expect(group.members.every(({ end }) => end.status === "masked" && end.cause === "infrastructure")).toBe(true);
    expect(group.fidelity.decision).toBe("drop");
  });
});

describe("a sandbox over standard input and output", { timeout: 60_000 }, () => {
  test("has a process and a world for every rollout, little of our environment, and ends with the rollout", async () => {
    const world = worldOf({ server: { ...stdio, env: { SHOP: "sandbox" } }, worldPerConnection: true, concurrency: 2 });
    expect(world).toMatchObject({ isolation: "connection", concurrency: 2 });
    const tools = await world.tools();
    const group = await rolloutGroup(livePlan(world, taskScenario(tools), refundOnce()));
    expect(answersOf(group.members)).toEqual(Array.from({ length: 3 }, () => ['{"refunded":"A1"}']));
    expect(group.fidelity).toMatchObject({ live: "connection", weight: 1, decision: "train" });
    const session = world.open(memberOf(taskScenario(tools)), openBudget());
    const { results } = await session.answer([{ tool: "show_environment", arguments: "{}" }]);
    const names = JSON.parse(results[0]?.text ?? "[]") as string[];
    expect(names).toContain("SHOP");
    expect(names).not.toContain("SECRET_OF_OURS");
    expect((await session.answer([{ tool: "die", arguments: "{}" }])).end).toEqual({ status: "masked", cause: "infrastructure" });
    await session.close?.();
  });

  test("that cannot be started is unavailable", async () => {
    const world = worldOf({ server: { command: ["/no/such/program"] }, worldPerConnection: true, timeoutMs: 5_000 });
    await expect(world.tools()).rejects.toMatchObject({ code: "bootstrap_server_unavailable" });
  });
});
