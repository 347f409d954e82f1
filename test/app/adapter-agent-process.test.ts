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
import { createAttestationStore } from "../../src/serving/attestation-store.ts";
import { createDesiredAdapterStore } from "../../src/serving/desired-adapters.ts";
import { createVllm } from "../../src/serving/vllm.ts";
import type { Database } from "../../src/store/database.ts";
import { registerAdapter, type RegisteredAdapter } from "../../src/training/adapters.ts";
import { apiWorld, NOW_MS, type ApiWorld } from "../api/world.ts";
import { measuredReference } from "../serving/measured-reference.ts";
import { startTinyServer, tinyModel } from "../serving/tiny-server.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const LIMIT = { timeout: 30_000, interval: 50 };

let server: Awaited<ReturnType<typeof startTinyServer>>;
let policy: ReturnType<typeof createVllm>;
let database: Database;
let world: ApiWorld;
let adapter: RegisteredAdapter;
let model: string;
beforeAll(async () => {
  [server, database, { model }] = await Promise.all([startTinyServer(), memoryDatabase(), tinyModel()]);
  policy = createVllm({ url: server.baseUrl, timeoutMs: 30_000, connections: 4 });
  world = await apiWorld(database, { agent: { model: "base", baseModel: model } });
  const files = mkdtempSync(join(tmpdir(), "nightshift-adapter-"));
  cpSync(server.adapters.good, files, { recursive: true });
  await policy.loadAdapter({ name: "measured", path: server.adapters.good });
  writeFileSync(join(files, "reference.json"), JSON.stringify(await measuredReference(policy, "measured", "base")));
  await policy.unloadAdapter("measured");
  adapter = await registerAdapter(
    {
      ...{ directory: files, tenant: "default", agent: "support", runId: crypto.randomUUID(), iteration: 1, rank: 64 },
      ...{ baseDigest: await baseDigest(model), parentDigest: null, lineage: new Uint8Array([1]), nowMs: NOW_MS },
    },
    { database, artifacts: createFileArtifactStore({ dir: join(world.dir, "artifacts") }), key: loadSigningKey(join(world.dir, "keys")) },
  );
  rmSync(files, { recursive: true });
}, 120_000);
afterAll(async () => {
  await policy?.close();
  await server?.stop();
  await world?.close();
  await database?.close();
});

/** The process beside the server, which is replica `vllm-0`. */
function start(publicKeyFile = join(world.dir, "keys", "adapter-signing.pub.pem"), dataDir = world.dir): Promise<AdapterAgentProcess> {
  const config = parseConfig({
    dataDir,
    adapterAgent: { port: 0, controlUrl: world.url, publicKeyFile },
    agents: { support: { model: "base", baseModel: model, policyServers: [{ url: server.baseUrl, name: "vllm-0", adapterAgent: true }] } },
  });
  return startAdapterAgentProcess(config, "vllm-0", { log: silentLog() });
}

/** As beside a server that the control service discovers; nothing of the base model is read. */
async function startInPod(name: string, uid?: string): Promise<AdapterAgentProcess> {
  const config = parseConfig({
    dataDir: world.dir,
    adapterAgent: { port: 0, controlUrl: world.url, publicKeyFile: join(world.dir, "keys", "adapter-signing.pub.pem") },
    agents: {
      support: {
        ...{ model: "base", baseModel: "/not/here", baseModelDigest: await baseDigest(model) },
        policyServers: { discover: { service: "vllm", port: "http" } },
      },
    },
  });
  return startAdapterAgentProcess(config, name, {
    log: silentLog(),
    env: uid === undefined ? {} : { POD_UID: uid },
    serverUrl: server.baseUrl,
  });
}

async function readiness({ port }: AdapterAgentProcess): Promise<{ status: number; reason?: string }> {
  const answer = await fetch(`http://127.0.0.1:${port}/ready`);
  return { ...((await answer.json()) as { reason?: string }), status: answer.status };
}
const served = async (): Promise<boolean> => (await policy.models())?.some(({ id }) => id === adapter.name) ?? false;
const report = async () => (await createAttestationStore(database).list(adapter.digest))[0];

test("loads what the control service wants, proves it, reports it, heals it, and comes back from disk while the control service is down", async () => {
  const first = await start();
  // The control service has not spoken of this agent yet: an empty set would unload what is in use.
  expect(await readiness(first)).toMatchObject({ status: 503, reason: expect.stringContaining("nothing is known yet") as string });
  await createDesiredAdapterStore(database).save({
    agent: "support",
    adapters: [{ name: adapter.name, digest: adapter.digest }],
    stable: adapter.name,
  });
  await vi.waitFor(async () => expect(await readiness(first)).toMatchObject({ status: 200 }), LIMIT);
  await vi.waitFor(async () => expect(await report()).toMatchObject({ status: "attested", replica: "vllm-0" }), LIMIT);

  await policy.unloadAdapter(adapter.name);
  await vi.waitFor(async () => expect(await served()).toBe(true), LIMIT);
  await vi.waitFor(async () => expect(await readiness(first)).toMatchObject({ status: 200 }), LIMIT);
  await first.close();

  // In a pod that is found by its Service: reports bear its name, and count for its uid.
  const inPod = await startInPod("vllm-6d5f-abcde", "uid-1");
  await vi.waitFor(async () => expect(await readiness(inPod)).toMatchObject({ status: 200 }), LIMIT);
  await vi.waitFor(async () => {
    const reports = await createAttestationStore(database).list(adapter.digest);
    expect(reports.find(({ replica }) => replica === "vllm-6d5f-abcde")).toMatchObject({ status: "attested", instance: "uid-1" });
  }, LIMIT);
  await inPod.close();
  await expect(startInPod("vllm-6d5f-abcde")).rejects.toThrow("metadata.uid");

  await policy.unloadAdapter(adapter.name);
  await world.close();
  const second = await start();
  await vi.waitFor(async () => expect(await readiness(second)).toMatchObject({ status: 200 }), LIMIT);
  expect(await served()).toBe(true);
  await second.close();
}, 120_000);

test("an adapter that another key signed is not loaded, and the replica is not ready", async () => {
  await policy.unloadAdapter(adapter.name);
  loadSigningKey(join(world.dir, "other-keys"));
  const agent = await start(join(world.dir, "other-keys", "adapter-signing.pub.pem"));
  await vi.waitFor(async () => expect((await readiness(agent)).reason).toContain("is not attested"), LIMIT);
  expect(await served()).toBe(false);
  await agent.close();
}, 60_000);

test.each([
  ["a name that no policy server has", "vllm-9", {}, /no policy server has this name; there are: vllm-0/],
  ["no control service", "vllm-0", { controlUrl: undefined }, /adapterAgent\.controlUrl/],
  ["no public key", "vllm-0", { publicKeyFile: undefined }, /adapterAgent\.publicKeyFile/],
] as const)("is refused at start: %s", async (_, replica, change, message) => {
  const adapterAgent = { port: 0, controlUrl: "http://127.0.0.1:1", publicKeyFile: "keys.pem", ...change };
  const config = parseConfig({
    dataDir: world.dir,
    adapterAgent: JSON.parse(JSON.stringify(adapterAgent)) as unknown,
    agents: { support: { model: "base", baseModel: model, policyServers: [{ url: server.baseUrl, name: "vllm-0" }] } },
  });
  await expect(startAdapterAgentProcess(config, replica, { log: silentLog() })).rejects.toThrow(message);
});
