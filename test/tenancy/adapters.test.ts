import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startAdapterAgentProcess } from "../../src/app/adapter-agent-process.ts";
import { agentOfAdapter } from "../../src/artifact/adapter.ts";
import { baseDigest } from "../../src/artifact/base-digest.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { loadSigningKey } from "../../src/artifact/signing-key.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createAttestationStore } from "../../src/serving/attestation-store.ts";
import { createDesiredAdapterStore } from "../../src/serving/desired-adapters.ts";
import { createVllm } from "../../src/serving/vllm.ts";
import type { Database } from "../../src/store/database.ts";
import { registerAdapter, type RegisteredAdapter } from "../../src/training/adapters.ts";
import { apiWorld, NOW_MS, type ApiWorld } from "../api/world.ts";
import { measuredReference } from "../serving/measured-reference.ts";
import { startTinyServer, tinyModel } from "../serving/tiny-server.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const LIMIT = { timeout: 40_000, interval: 100 };
/** One is the beginning of another. */
const AGENTS = ["north", "north-desk", "south-desk", "south-shop"] as const;
const tenantOf = (agent: string): string => agent.split("-")[0] ?? "";

let server: Awaited<ReturnType<typeof startTinyServer>>;
let policy: ReturnType<typeof createVllm>;
let database: Database;
let world: ApiWorld;
let model: string;
const adapters = new Map<string, RegisteredAdapter>();

beforeAll(async () => {
  [server, database, { model }] = await Promise.all([startTinyServer(), memoryDatabase(), tinyModel()]);
  policy = createVllm({ url: server.baseUrl, timeoutMs: 30_000, connections: 4 });
  world = await apiWorld(database, { config: { tenants: { north: {}, south: {} }, agents: agentsConfig() } });
  const files = mkdtempSync(join(tmpdir(), "nightshift-adapters-"));
  cpSync(server.adapters.good, files, { recursive: true });
  await policy.loadAdapter({ name: "measured", path: server.adapters.good });
  writeFileSync(join(files, "reference.json"), JSON.stringify(await measuredReference(policy, "measured", "base")));
  await policy.unloadAdapter("measured");
  const deps = {
    database,
    artifacts: createFileArtifactStore({ dir: join(world.dir, "artifacts") }),
    key: loadSigningKey(join(world.dir, "keys")),
  };
  for (const agent of AGENTS) {
    const of = { directory: files, tenant: tenantOf(agent), agent, runId: crypto.randomUUID(), iteration: 1, rank: 64, nowMs: NOW_MS };
    const made = { baseDigest: await baseDigest(model), parentDigest: null, lineage: new Uint8Array([1]) };
    adapters.set(agent, await registerAdapter({ ...of, ...made }, deps));
  }
  rmSync(files, { recursive: true });
}, 120_000);
afterAll(async () => {
  await policy?.close();
  await server?.stop();
  await world?.close();
  await database?.close();
});

function agentsConfig(): Record<string, object> {
  const policyServers = [{ url: server.baseUrl, name: "vllm-0", adapterAgent: true }];
  return Object.fromEntries(AGENTS.map((agent) => [agent, { tenant: tenantOf(agent), model: "base", baseModel: model, policyServers }]));
}

const nameOf = (agent: string): string => adapters.get(agent)?.name ?? "";
const served = async (): Promise<string[]> =>
  ((await policy.models()) ?? [])
    .map(({ id }) => id)
    .filter((id) => id !== "base")
    .toSorted();
async function want(agent: (typeof AGENTS)[number], wanted: readonly RegisteredAdapter[]): Promise<void> {
  const sets = wanted.map(({ name, digest }) => ({ name, digest }));
  await createDesiredAdapterStore(database).save({ agent, adapters: sets, stable: sets[0]?.name ?? null });
}

test("names tell whose they are, also where one agent's slug begins as another's", () => {
  expect(
    ["shop-2-aaaaaaaaaaaa", "shop-2-1-aaaaaaaaaaaa", "shop-eu-2-aaaaaaaaaaaa", "shop-aaaaaaaaaaaa", "base"].map(agentOfAdapter),
  ).toEqual([...["shop", "shop-2", "shop-eu"], ...[null, null]]);
});

test(
  "one adapter agent loads and proves what all agents of its server want, and takes out only what an agent gave up",
  { timeout: 240_000 },
  async () => {
    for (const agent of AGENTS) expect(nameOf(agent)).toMatch(new RegExp(`^${agent}-1-[0-9a-f]{12}$`));
    expect(new Set(AGENTS.map(nameOf)).size).toBe(AGENTS.length);
    // What an earlier night left.
    const left = "south-desk-9-aaaaaaaaaaaa";
    await policy.loadAdapter({ name: left, path: server.adapters.good });
    const config = parseConfig({
      dataDir: world.dir,
      adapterAgent: { port: 0, controlUrl: world.url, publicKeyFile: join(world.dir, "keys", "adapter-signing.pub.pem") },
      tenants: { north: {}, south: {} },
      agents: agentsConfig(),
    });
    const own = (agent: (typeof AGENTS)[number]) => want(agent, [adapters.get(agent) as RegisteredAdapter]);
    for (const agent of AGENTS.slice(0, 3)) await own(agent);
    const agent = await startAdapterAgentProcess(config, "vllm-0", { log: silentLog() });
    // One of them was not heard of yet: what is loaded may be what that one wants.
    const heard = join(world.dir, "adapter-agent-vllm-0", "desired.json");
    await vi.waitFor(() => expect(readFileSync(heard, "utf8")).toContain(nameOf("south-desk")), LIMIT);
    expect(await served()).toEqual([left]);
    await own("south-shop");
    await vi.waitFor(async () => expect(await served()).toEqual(AGENTS.map(nameOf).toSorted()), LIMIT);
    for (const one of adapters.values()) {
      await vi.waitFor(async () => {
        expect(await createAttestationStore(database).list(one.digest)).toMatchObject([{ replica: "vllm-0", status: "attested" }]);
      }, LIMIT);
    }
    await want("north", []);
    await vi.waitFor(async () => expect(await served()).toEqual(AGENTS.slice(1).map(nameOf).toSorted()), LIMIT);
    await agent.close();
  },
);
