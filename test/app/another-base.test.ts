import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { startAdapterAgentProcess, type AdapterAgentProcess } from "../../src/app/adapter-agent-process.ts";
import { baseDigest } from "../../src/artifact/base-digest.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { loadSigningKey } from "../../src/artifact/signing-key.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createDesiredAdapterStore } from "../../src/serving/desired-adapters.ts";
import { createVllm } from "../../src/serving/vllm.ts";
import type { Database } from "../../src/store/database.ts";
import { registerAdapter } from "../../src/training/adapters.ts";
import { apiWorld, NOW_MS, type ApiWorld } from "../api/world.ts";
import { copyWithOtherWeights } from "../serving/another-base.ts";
import { startGateway } from "../serving/gateway-fixture.ts";
import { measuredReference } from "../serving/measured-reference.ts";
import { startTinyServer, tinyModel } from "../serving/tiny-server.ts";
import { memoryDatabase } from "../store/memory-database.ts";

type TinyServer = Awaited<ReturnType<typeof startTinyServer>>;
const LIMIT = { timeout: 60_000, interval: 50 };
const dir = mkdtempSync(join(tmpdir(), "nightshift-another-base-"));

let servers: TinyServer[];
let agents: AdapterAgentProcess[];
let gateway: Awaited<ReturnType<typeof startGateway>>;
let database: Database;
let world: ApiWorld;
let model: string;
beforeAll(async () => {
  [servers, database, { model }] = await Promise.all([Promise.all([startTinyServer(), startTinyServer()]), memoryDatabase(), tinyModel()]);
  world = await apiWorld(database, { agent: { model: "base", baseModel: model } });
  await publishAdapter(servers[0] as TinyServer);
  agents = await Promise.all([0, 1].map(startAgent));
  const upstreams = servers.map(({ baseUrl }, index) => ({ url: baseUrl, readinessUrl: `http://127.0.0.1:${agents[index]?.port}/ready` }));
  gateway = await startGateway({ upstreams });
}, 120_000);
afterAll(async () => {
  await gateway?.close();
  await Promise.all((agents ?? []).map((agent) => agent.close()));
  await Promise.all((servers ?? []).map((server) => server.stop()));
  await world?.close();
  await database?.close();
  rmSync(dir, { recursive: true });
});

/** The adapter that both replicas are to hold, as a night leaves it; stable is the base. */
async function publishAdapter(server: TinyServer): Promise<void> {
  const files = join(dir, "adapter");
  cpSync(server.adapters.good, files, { recursive: true });
  const policy = createVllm({ url: server.baseUrl, timeoutMs: 30_000, connections: 4 });
  await policy.loadAdapter({ name: "measured", path: server.adapters.good });
  writeFileSync(join(files, "reference.json"), JSON.stringify(await measuredReference(policy, "measured", "base")));
  await policy.unloadAdapter("measured");
  await policy.close();
  const { name, digest } = await registerAdapter(
    {
      ...{ directory: files, tenant: "default", agent: "support", runId: crypto.randomUUID(), iteration: 1, rank: 64 },
      ...{ baseDigest: await baseDigest(model), parentDigest: null, lineage: new Uint8Array([1]), nowMs: NOW_MS },
    },
    { database, artifacts: createFileArtifactStore({ dir: join(world.dir, "artifacts") }), key: loadSigningKey(join(world.dir, "keys")) },
  );
  await createDesiredAdapterStore(database).save({ agent: "support", adapters: [{ name, digest }], stable: null });
}

function startAgent(index: number): Promise<AdapterAgentProcess> {
  const policyServers = servers.map(({ baseUrl }, at) => ({ url: baseUrl, name: `vllm-${at}`, adapterAgent: true }));
  const config = parseConfig({
    dataDir: world.dir,
    adapterAgent: { port: 0, controlUrl: world.url, publicKeyFile: join(world.dir, "keys", "adapter-signing.pub.pem") },
    agents: { support: { model: "base", baseModel: model, policyServers } },
  });
  return startAdapterAgentProcess(config, `vllm-${index}`, { log: silentLog() });
}

async function baseOf(index: number): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${agents[index]?.port}/ready`);
  return ((await answer.json()) as { base: string }).base;
}

const CHAT = { max_tokens: 8, temperature: 0 };
const textOf = async (answer: Response): Promise<string> =>
  ((await answer.json()) as { choices: { message: { content: string } }[] }).choices[0]?.message.content ?? "";

async function answerOf({ baseUrl }: TinyServer): Promise<string> {
  const body = JSON.stringify({ model: "base", messages: [{ role: "user", content: "hi" }], ...CHAT });
  return textOf(await fetch(`${baseUrl}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body }));
}

/** The distinct answers of ten calls through the gateway, all of them 200. */
async function answers(): Promise<Set<string>> {
  const all = new Set<string>();
  for (let call = 0; call < 10; call++) {
    const answer = await gateway.chat(`key-${call}`, CHAT);
    expect(answer.status).toBe(200);
    all.add(await textOf(answer));
  }
  return all;
}

test("a replica that comes back with another base answers nobody: not while it is proven, not afterwards, until it has the right one", async () => {
  const [first, second] = servers as [TinyServer, TinyServer];
  const right = await answerOf(first);
  await vi.waitFor(async () => expect([await baseOf(0), await baseOf(1)]).toEqual(["proven", "proven"]), LIMIT);
  await second.stop();
  await vi.waitFor(async () => expect(await baseOf(1)).toBe("pending"), LIMIT);

  const port = Number(new URL(second.baseUrl).port);
  const wrong = await startTinyServer({ port, model: copyWithOtherWeights(model, join(dir, "another")) });
  servers[1] = wrong;
  expect(await answerOf(wrong)).not.toBe(right);
  while ((await baseOf(1)) === "pending") expect(await answers()).toEqual(new Set([right]));
  expect(await baseOf(1)).toBe("another");
  expect(await answers()).toEqual(new Set([right]));

  await wrong.stop();
  await vi.waitFor(async () => expect(await baseOf(1)).toBe("pending"), LIMIT);
  servers[1] = await startTinyServer({ port });
  await vi.waitFor(async () => expect(await baseOf(1)).toBe("proven"), LIMIT);
  await first.stop();
  expect(await answers()).toEqual(new Set([right]));
  servers[0] = await startTinyServer({ port: Number(new URL(first.baseUrl).port) });
}, 180_000);
