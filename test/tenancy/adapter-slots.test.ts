import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { createAdapterSlots, type AdapterSlots } from "../../src/app/adapter-slots.ts";
import { startAgentRuntime, type AgentRuntimeDeps } from "../../src/app/agent-runtime.ts";
import { startControl } from "../../src/app/control.ts";
import { createStarted } from "../../src/app/started.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { checkPolicyServers } from "../../src/cli/doctor/policy-servers.ts";
import { parseConfig, type AgentConfig, type Config } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { DesiredAdapter } from "../../src/serving/adapter-bring-up.ts";
import { createDesiredAdapterStore } from "../../src/serving/desired-adapters.ts";
import type { Database } from "../../src/store/database.ts";
import { beginTraining, carryOut } from "../../src/training/learning.ts";
import type { NightDeps } from "../../src/training/night-context.ts";
import { createRunQueue } from "../../src/training/run-queue.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { apiWorld } from "../api/world.ts";
import { cli } from "../cli/terminal.ts";
import { canaryWorld } from "../promotion/canary-world.ts";
import { sendJson, startUpstream } from "../serving/fake-upstream.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const AGENTS = ["north-desk", "north-shop", "south-desk", "south-shop"];
const home = mkdtempSync(join(tmpdir(), "nightshift-slots-"));
const monotonicMs = (): number => 0;
let database: Database;
/** Of the fleet that all of them share. */
let metrics = "";
let fleet: Awaited<ReturnType<typeof startUpstream>>;

beforeAll(async () => {
  writeFileSync(join(home, "config.json"), "{}");
  writeFileSync(join(home, "model.safetensors"), "");
  database = await memoryDatabase();
  fleet = await startUpstream(({ url }, response) => {
    if (url !== "/metrics") return sendJson(response, {}, 404);
    response.writeHead(200, { "content-type": "text/plain" }).end(metrics);
  });
});
beforeEach(async () => {
  metrics = 'vllm:lora_requests_info{max_lora="5",running_lora_adapters=""} 1\n';
  await database.kysely.deleteFrom("settings").where("key", "like", "desired_adapters:%").execute();
  for (const table of ["run_steps", "runs", "adapters"] as const) await database.kysely.deleteFrom(table).execute();
});
afterAll(async () => {
  await fleet.close();
  await database.close();
  rmSync(home, { recursive: true });
});

function configOf(server: object = {}): Config {
  const policyServers = [{ url: fleet.url, ...server }];
  const agents = AGENTS.map((slug) => [slug, { tenant: slug.split("-")[0], model: slug, baseModel: home, policyServers }]);
  const alone = { tenant: "south", model: "alone", baseModel: home, policyServers: [{ url: "http://127.0.0.1:1" }] };
  return {
    ...parseConfig({ api: { port: 0 }, tenants: { north: {}, south: {} }, agents: { ...Object.fromEntries(agents), alone } }),
    dataDir: home,
  };
}

const adapter = (agent: string, number: number): DesiredAdapter => ({
  name: `${agent}-${number}-aaaaaaaaaaaa`,
  digest: `sha256:${agent}${number}`,
});

/** Each agent's stable and, of one, a candidate: five on the shared fleet. */
async function wantFive(): Promise<void> {
  const store = createDesiredAdapterStore(database);
  for (const agent of AGENTS) {
    const adapters = [adapter(agent, 1), ...(agent === "south-shop" ? [adapter(agent, 2)] : [])];
    await store.save({ agent, adapters, stable: adapters[0]?.name ?? null });
  }
}

const FULL = () => ({ url: fleet.url, slots: 5, wanted: 6, agents: 4 });

test("the adapters of all agents that share a server are counted against what it holds, whoever's they are", async () => {
  await wantFive();
  const slots = createAdapterSlots(configOf(), { database, monotonicMs });
  for (const agent of AGENTS) {
    expect(await slots.shortage(agent, 0)).toBeNull();
    expect(await slots.shortage(agent, 1)).toEqual(FULL());
  }
  // Another fleet, which tells nothing.
  expect(await slots.shortage("alone", 99)).toBeNull();
});

test("the config's word stands before the server's, and what nobody tells is not counted", async () => {
  await wantFive();
  const told = createAdapterSlots(configOf({ adapterSlots: 6 }), { database, monotonicMs });
  expect(await told.shortage("north-desk", 1)).toBeNull();
  expect(await told.shortage("north-desk", 2)).toMatchObject({ slots: 6, wanted: 7 });
  metrics = "";
  expect(await createAdapterSlots(configOf(), { database, monotonicMs }).shortage("north-desk", 9)).toBeNull();
});

describe("two agents' runs on a fleet with room for one more", () => {
  const runs = () => createRunStore(database, () => 1);
  const refused = { code: "adapter_slots_exceeded" };
  const NIGHTS = { "night-1": "north-desk", "night-2": "south-desk" } as const;
  beforeEach(async () => {
    metrics = 'vllm:lora_requests_info{max_lora="2",running_lora_adapters=""} 1\n';
    await createDesiredAdapterStore(database).save({ agent: "north-shop", adapters: [adapter("north-shop", 1)], stable: null });
    for (const [id, agent] of Object.entries(NIGHTS)) await runs().create({ id, tenant: "t", agent, plan: {}, nowMs: 1 });
  });
  const reserve = (slots: AdapterSlots, id: keyof typeof NIGHTS) => slots.reserve(NIGHTS[id], id);

  test("never get the same slot, however they meet, and it is free again when the run ends", async () => {
    const slots = createAdapterSlots(configOf(), { database, monotonicMs });
    const [first, second] = await Promise.allSettled([reserve(slots, "night-1"), reserve(slots, "night-2")]);
    expect(first.status).toBe("fulfilled");
    expect(second).toMatchObject({
      status: "rejected",
      reason: { ...refused, message: expect.stringContaining("have to hold 3") as string },
    });
    // Its own is no other's: a step that was cut off comes here again.
    await reserve(slots, "night-1");
    await runs().finish("night-1", "failed", { kind: "nothing_to_learn", reason: "test" }, 2);
    await reserve(slots, "night-2");
  });

  test("are told apart by a process that knows nothing of the one before it", async () => {
    await runs().step("night-1", "prepare", async () => {
      await reserve(createAdapterSlots(configOf(), { database, monotonicMs }), "night-1");
      return {};
    });
    const after = createAdapterSlots(configOf(), { database, monotonicMs });
    await expect(reserve(after, "night-2")).rejects.toMatchObject(refused);
  });

  test("count an adapter once, as what is to come or as what there is", async () => {
    metrics = 'vllm:lora_requests_info{max_lora="3",running_lora_adapters=""} 1\n';
    const slots = createAdapterSlots(configOf(), { database, monotonicMs });
    await reserve(slots, "night-1");
    const made = { ...adapter("north-desk", 1), number: 1, tenant: "t", agent: "north-desk", run_id: "night-1", iteration: 1 };
    await database.kysely
      .insertInto("adapters")
      .values({ ...made, parent_digest: null, created_at_ms: 1, manifest: "{}" })
      .execute();
    await createDesiredAdapterStore(database).save({ agent: "north-desk", adapters: [adapter("north-desk", 1)], stable: null });
    await reserve(slots, "night-2");
  });
});

test.each([
  ["http://vllm:8000", "http://vllm:8000/"],
  ["http://vllm", "HTTP://VLLM:80"],
  ["https://models.example/a", "https://Models.Example:443/a//"],
])("%s and %s are one server", async (one, other) => {
  const agents = { a: one, b: other };
  const config = parseConfig({
    agents: Object.fromEntries(
      Object.entries(agents).map(([slug, url]) => [slug, { model: slug, baseModel: home, policyServers: [{ url, adapterSlots: 1 }] }]),
    ),
  });
  const store = createDesiredAdapterStore(database);
  await store.save({ agent: "a", adapters: [adapter("a", 1)], stable: null });
  await store.save({ agent: "b", adapters: [adapter("b", 1)], stable: null });
  const shortage = await createAdapterSlots(config, { database, monotonicMs }).shortage("a", 0);
  expect(shortage).toEqual({ url: one, slots: 1, wanted: 2, agents: 2 });
});

test("a run for which there is no room is refused with what to do, before anything is played", async () => {
  await wantFive();
  const started = createStarted({ log: silentLog() });
  const election = { name: "this", campaign: () => undefined, isLeader: () => false, close: () => Promise.resolve() };
  const artifacts = createFileArtifactStore({ dir: join(home, "artifacts") });
  const deps = { database, artifacts, election, log: silentLog(), env: {}, now: () => 0, monotonicMs };
  try {
    const { apiPort } = await startControl(configOf(), { gatewayGraceMs: 0 }, deps, started);
    for (const path of ["runs", "bootstrap"]) {
      const answer = await fetch(`http://127.0.0.1:${apiPort}/v1/${path}`, {
        method: "POST",
        body: JSON.stringify({ agent: "north-desk" }),
      });
      expect(answer.status).toBe(422);
      expect(await answer.json()).toEqual({
        error: {
          code: "adapter_slots_exceeded",
          message: `policy server ${fleet.url} holds 5 adapters; with tonight's it would have to hold 6: stable, candidates and last known good of the 4 agents that share it`,
          fix: expect.stringContaining("--max-loras") as unknown,
        },
      });
    }
    expect(await createRunStore(database, () => 0).list({ limit: 1 })).toEqual([]);
  } finally {
    await started.end();
  }
});

test("a run that waited until there was no room any more ends before its trainer is started", async () => {
  await wantFive();
  const runs = createRunStore(database, () => 1);
  await runs.create({ id: "late", tenant: "north", agent: "north-desk", plan: {}, nowMs: 1 });
  const trainers: string[] = [];
  const slots = createAdapterSlots(configOf(), { database, monotonicMs });
  const deps = {
    ...{ database, runs, log: silentLog(), now: () => 1 },
    jobRunner: { start: async ({ runId }: { runId: string }) => void trainers.push(runId), cancel: () => Promise.resolve() },
    fleet: { reserveSlot: (runId: string) => slots.reserve("north-desk", runId) },
  } as unknown as NightDeps;
  const config = configOf().agents["north-desk"] as AgentConfig;
  const options = { runId: "late", agent: "north-desk", config, runsDirectory: home, signal: new AbortController().signal };
  const outcome = await carryOut(options, deps, async (one, its) => {
    await beginTraining(one, its);
    throw new Error("there was no room");
  });
  expect(outcome).toMatchObject({ kind: "failed", code: "adapter_slots_exceeded" });
  expect(await runs.get("late")).toMatchObject({ state: "failed" });
  expect(trainers).toEqual([]);
});

test("`status` says so while it lasts, and doctor what the server must be started with for all its agents", async () => {
  const world = await apiWorld(database, { slots: { url: "http://vllm:8000", slots: 5, wanted: 6 } });
  expect((await cli(["status", "--url", world.url])).out).toContain("ADAPTERS DO NOT FIT: 6 wanted on http://vllm:8000, which holds 5");
  await world.close();
  const server = await startUpstream(({ url, text }, response) => {
    const found = { "/v1/models": { data: [{ id: "a" }, { id: "b" }] }, "/version": { version: "0.32.0" } }[url];
    if (url === "/metrics") response.end(metrics);
    else if (url === "/v1/unload_lora_adapter") sendJson(response, { error: { message: text } }, 404);
    else sendJson(response, found ?? {}, found === undefined ? 404 : 200);
  });
  const of = (model: string) => ({ model, baseModel: "base", policyServers: [{ url: server.url }] });
  const findings = await checkPolicyServers(parseConfig({ agents: { a: of("a"), b: of("b") } }));
  const told = findings.flatMap((one) => (one.status !== "ok" && one.message.includes("--max-loras") ? [one] : []));
  expect(told.map(({ check, message, fix }) => [check, message, fix])).toEqual(
    ["a", "b"].map((agent) => [
      `${agent}: ${server.url}`,
      "--max-loras 5: stable, candidate, the last known good and tonight's of 2 agents do not fit, so nights will be refused",
      "Start it with --max-loras 7.",
    ]),
  );
  await server.close();
});

test("what a promotion took the place of stays loaded: a rollback must not have to bring it up first", async () => {
  const world = await canaryWorld(database, { agent: "north-desk", seed: 1 });
  const former = { name: "north-desk-1-aaaaaaaaaaaa", digest: "sha256:former" };
  const routes = await world.router.routes("north-desk");
  if (routes === null) throw new Error("the world has routes");
  await world.router.setRoutes({ ...routes, stable: former });
  await world.submit("better", { tenant: "north", stable: former });
  await world.run(world.controller());
  const wants: string[][] = [];
  const config = configOf();
  const deps = {
    ...{ database, router: world.router, runs: createRunStore(database, () => 1), log: silentLog(), now: () => 1, monotonicMs },
    fleet: {
      want: (adapters: readonly DesiredAdapter[]) => void wants.push(adapters.map(({ digest }) => digest)),
      close: () => Promise.resolve(),
    },
    queue: createRunQueue({ runsAtOnce: 1, agents: AGENTS }, { database, log: silentLog() }),
    slots: createAdapterSlots(config, { database, monotonicMs }),
    confirm: () => undefined,
  } as unknown as AgentRuntimeDeps;
  const runtime = startAgentRuntime(
    {
      agent: "north-desk",
      config: config.agents["north-desk"] as AgentConfig,
      baseDigest: "sha256:base",
      runsDirectory: home,
      settleMs: 0,
    },
    deps,
  );
  await vi.waitFor(() => expect(wants.at(-1)).toEqual(["sha256:better", "sha256:former"]));
  await runtime.close();
});
