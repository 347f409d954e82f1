import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startAgentRuntime, type AgentRuntimeDeps } from "../../src/app/agent-runtime.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { loadSigningKey } from "../../src/artifact/signing-key.ts";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import { createGatewayRouter } from "../../src/promotion/gateway-router.ts";
import { loadRecordings } from "../../src/rollout/load-recordings.ts";
import type { Database } from "../../src/store/database.ts";
import { registerAdapter, type RegisteredAdapter } from "../../src/training/adapters.ts";
import { createRunQueue } from "../../src/training/run-queue.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { saveTrajectories } from "../../src/trajectory/save-trajectories.ts";
import { conversation, lookup, shopConfigs } from "../rollout/build.ts";
import { openScenarios } from "../scenario/settings.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const AGENTS = ["north-desk", "south-desk"] as const;
const NOW_MS = 1_000_000_000;
const home = mkdtempSync(join(tmpdir(), "nightshift-two-nights-"));
const artifacts = createFileArtifactStore({ dir: join(home, "artifacts") });
const key = loadSigningKey(join(home, "keys"));
const config = parseConfig({
  tenants: { north: {}, south: {} },
  agents: Object.fromEntries(
    AGENTS.map((agent) => [
      agent,
      { tenant: agent.split("-")[0], model: agent, baseModel: home, tools: shopConfigs, scenario: openScenarios },
    ]),
  ),
});
let database: Database;

beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(async () => {
  await database.close();
  rmSync(home, { recursive: true });
});

/** The agent's stable, as a promotion has left it. Its weights say whose it is. */
async function stableOf(agent: string, tenant: string): Promise<RegisteredAdapter> {
  const directory = join(home, `trained-${agent}`);
  mkdirSync(directory);
  writeFileSync(join(directory, "adapter_model.safetensors"), `weights of ${agent}`);
  const adapter = await registerAdapter(
    {
      ...{ directory, tenant, agent, runId: `before-${agent}`, iteration: 1, rank: 4, parentDigest: null, nowMs: 1 },
      ...{ baseDigest: `sha256:${"0".repeat(64)}`, lineage: new TextEncoder().encode("{}") },
    },
    { database, artifacts, key },
  );
  const stable = { name: adapter.name, digest: adapter.digest };
  const settled = { version: 1, generation: 0, candidate: null, experimentId: null, salt: null };
  await createGatewayRouter({ database, log: silentLog() }).setRoutes({ agent, model: agent, stable, ...settled });
  return adapter;
}

test("two agents' nights, one after the other: each reads its own conversations and starts from its own stable", async () => {
  const runs = createRunStore(database, () => NOW_MS);
  const queue = createRunQueue({ runsAtOnce: 1, agents: AGENTS }, { database, log: silentLog() });
  const stables = new Map<string, RegisteredAdapter>();
  for (const [index, agent] of AGENTS.entries()) {
    const tenant = agent.split("-")[0] ?? "";
    stables.set(agent, await stableOf(agent, tenant));
    // The same customers ask the same things of both.
    const recorded = [1, 2, 3, 4, 5, 6].map((user) =>
      conversation(`${agent}-${user}`, [lookup(`A${user}`)], { user: `user ${user}`, overrides: { tenant, agent } }),
    );
    await database.transaction((trx) =>
      saveTrajectories(
        trx,
        recorded.map(({ conversationId }) => conversationId),
        recorded,
      ),
    );
    await runs.create({ id: `run-${agent}`, tenant, agent, plan: {}, nowMs: NOW_MS + index });
  }
  const trainers: string[] = [];
  const deps = {
    ...{ database, artifacts, key, runs, queue, log: silentLog(), now: () => NOW_MS, monotonicMs: () => 0, judgeIdentity: null },
    router: createGatewayRouter({ database, log: silentLog() }),
    slots: { shortage: () => Promise.resolve(null), reserve: () => Promise.resolve() },
    fleet: { want: () => undefined, close: () => Promise.resolve() },
    confirm: () => undefined,
    jobRunner: {
      // As far as this test goes: what a trainer is given lies in its directory.
      async start({ runId }: { runId: string }) {
        trainers.push(runId);
        throw nightshiftError("trainer_failed", { run: runId, exitCode: 64, detail: "no trainer here" });
      },
      cancel: () => Promise.resolve(),
    },
  };
  const runtimes = AGENTS.map((agent) => {
    const own = config.agents[agent] as AgentConfig;
    const recordings = (asked: { nowMs: number }) => loadRecordings(database, { agent, config: own, ...asked });
    return startAgentRuntime(
      { agent, config: own, baseDigest: `sha256:${"0".repeat(64)}`, runsDirectory: join(home, "runs"), settleMs: 0 },
      { ...deps, recordings } as unknown as AgentRuntimeDeps,
    );
  });
  await vi.waitFor(async () => expect(await runs.list({ state: "failed", limit: 9 })).toHaveLength(2), { timeout: 20_000 });
  await Promise.all(runtimes.map((runtime) => runtime.close()));

  expect(trainers).toEqual(["run-north-desk", "run-south-desk"]);
  for (const agent of AGENTS) {
    const stable = stables.get(agent);
    expect(stable?.name).toMatch(new RegExp(`^${agent}-1-[0-9a-f]{12}$`));
    const directory = join(home, "runs", `run-${agent}`);
    const told = JSON.parse(readFileSync(join(directory, "run.json"), "utf8")) as { agent: string; start_adapter: { digest: string } };
    expect(told).toMatchObject({ agent, start_adapter: { digest: stable?.digest } });
    expect(readFileSync(join(directory, "start-adapter", "adapter_model.safetensors"), "utf8")).toBe(`weights of ${agent}`);
    const select = (await runs.steps(`run-${agent}`)).find(({ step }) => step === "select")?.output as {
      trajectories: { id: string }[];
      others: { id: string }[];
    };
    expect(select.trajectories.map(({ id }) => id).toSorted()).toEqual([1, 2, 3, 4, 5, 6].map((user) => `${agent}-${user}`));
    expect(select.others).toEqual([]);
  }
});
