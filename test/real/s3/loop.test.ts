import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { createAgentFleet, type AgentFleet } from "../../../src/app/fleet.ts";
import { baseDigest } from "../../../src/artifact/base-digest.ts";
import type { ArtifactStore, Digest } from "../../../src/artifact/artifact-store.ts";
import { loadSigningKey, type SigningKey } from "../../../src/artifact/signing-key.ts";
import { parseConfig } from "../../../src/config.ts";
import { silentLog } from "../../../src/log.ts";
import { PROVING } from "../../../src/serving/adapter-bring-up.ts";
import type { PolicyServer } from "../../../src/serving/policy-server.ts";
import { createVllm } from "../../../src/serving/vllm.ts";
import type { Database } from "../../../src/store/database.ts";
import { registerAdapter, type RegisteredAdapter } from "../../../src/training/adapters.ts";
import { measuredReference } from "../../serving/measured-reference.ts";
import { startTinyServer, tinyModel } from "../../serving/tiny-server.ts";
import { memoryDatabase } from "../../store/memory-database.ts";
import { startS3, type S3Server } from "../parts/s3.ts";
import { startLyingStore, type Fault, type LyingStore } from "./lying-store.ts";
import { BUCKET, createFolders, hasty, openStore, s3Config } from "./world.ts";

const LIMIT = { timeout: 60_000, interval: 50 };
let bucket: S3Server;
let proxy: LyingStore;
let server: Awaited<ReturnType<typeof startTinyServer>>;
let policy: ReturnType<typeof createVllm>;
let database: Database;
let key: SigningKey;
let base: Digest;
let adapterFiles: string;
const folders = createFolders();
beforeAll(async () => {
  const { model } = await tinyModel();
  [bucket, server, database, base] = await Promise.all([startS3([BUCKET]), startTinyServer(), memoryDatabase(), baseDigest(model)]);
  proxy = await startLyingStore(bucket.url);
  policy = createVllm({ url: server.baseUrl, timeoutMs: 30_000, connections: 4 });
  key = loadSigningKey(folders.fresh());
  adapterFiles = folders.fresh();
  await mkdir(adapterFiles, { recursive: true });
  await cp(server.adapters.good, adapterFiles, { recursive: true });
  await policy.loadAdapter({ name: "measured", path: server.adapters.good });
  await writeFile(join(adapterFiles, "reference.json"), JSON.stringify(await measuredReference(policy, "measured", "base")));
  await policy.unloadAdapter("measured");
}, 180_000);
beforeEach(() => proxy.lie(() => null));
afterAll(async () => {
  await policy?.close();
  await server?.stop();
  await database?.close();
  await proxy?.close();
  await bucket?.close();
  await folders.remove();
});

/** Every call that the policy server got, so that a test can say what was never asked of it. */
function watched(real: PolicyServer): { server: PolicyServer; asked: string[] } {
  const asked: string[] = [];
  const note = (what: string, about: unknown): void => void asked.push(`${what} ${JSON.stringify(about).slice(0, 200)}`);
  return {
    asked,
    server: {
      chat: (request, options) => (note("chat", request.model), real.chat(request, options)),
      promptLogprobs: (request, options) => (note("promptLogprobs", request.model), real.promptLogprobs(request, options)),
      models: (options) => real.models(options),
      loadAdapter: (adapter, options) => (note("load", adapter), real.loadAdapter(adapter, options)),
      unloadAdapter: (name, options) => (note("unload", name), real.unloadAdapter(name, options)),
    },
  };
}

function register(artifacts: ArtifactStore, iteration: number): Promise<RegisteredAdapter> {
  return registerAdapter(
    {
      ...{
        directory: adapterFiles,
        tenant: "default",
        agent: "support",
        runId: crypto.randomUUID(),
        iteration,
        rank: 64,
        baseDigest: base,
      },
      ...{ parentDigest: null, lineage: new Uint8Array([1]), nowMs: Date.now() },
    },
    { database, artifacts, key },
  );
}

function fleetOn(artifacts: ArtifactStore, policyServer: PolicyServer): AgentFleet {
  const { agents } = parseConfig({ agents: { support: { model: "base", baseModel: "unused" } } });
  const config = agents["support"];
  if (config === undefined) throw new Error("no such agent");
  return createAgentFleet(
    {
      ...{ agent: "support", config, baseDigest: base },
      replicas: [{ name: "support-0", url: server.baseUrl, policyServer, instance: () => Promise.resolve("boot-1") }],
    },
    { database, artifacts, key, log: silentLog(), now: Date.now, monotonicMs: () => performance.now() },
  );
}

const served = async (): Promise<string[]> => (await policy.models())?.flatMap(({ id }) => (id === "base" ? [] : [id])) ?? [];

describe("an adapter is to be brought up while the artifact store", () => {
  const FAULTS: readonly Fault[] = ["hang", "error500", "cut", "flip", "truncate", "not_s3"];

  test.each(FAULTS)("does %s: nothing unproven is served, nothing is refused, and it goes on when that is over", async (fault) => {
    const config = s3Config(proxy.url);
    const adapter = await register(openStore(config, folders.fresh()), 1);
    const artifacts = openStore(hasty(config), folders.fresh());
    const wanted = { name: adapter.name, digest: adapter.digest };
    const { server: policyServer, asked } = watched(policy);
    proxy.lie(({ method }) => (method === "GET" ? fault : null));
    const before = proxy.calls.length;
    const fleet = fleetOn(artifacts, policyServer);
    try {
      fleet.want([wanted]);
      let isUp = false;
      // What a night and a gate wait for.
      const held = fleet.awaitServed(wanted, AbortSignal.timeout(120_000)).then(() => (isUp = true));
      await vi.waitUntil(() => proxy.calls.slice(before).filter((call) => call.includes("/named/")).length >= 3, LIMIT);
      expect(isUp).toBe(false);
      expect(asked).toEqual([]);
      expect(await served()).toEqual([]);
      expect(await fleet.attestations.list(adapter.digest)).toEqual([]);
      proxy.lie(() => null);
      await held;
      expect(asked[0]).toContain(`load {"name":"${adapter.name}${PROVING}"`);
      expect(await fleet.attestations.list(adapter.digest)).toMatchObject([{ replica: "support-0", status: "attested" }]);
    } finally {
      await fleet.close();
      await policy.unloadAdapter(adapter.name);
    }
  });
});

test("a replica that restarts while the store is away gets its adapters back from the cache; a new one waits", async () => {
  const config = s3Config(proxy.url);
  const patient = openStore(config, folders.fresh());
  const [stable, candidate] = [await register(patient, 1), await register(patient, 2)];
  const artifacts = openStore(hasty(config), folders.fresh());
  const fleet = fleetOn(artifacts, policy);
  try {
    fleet.want([stable]);
    await fleet.awaitServed(stable, AbortSignal.timeout(60_000));
    proxy.lie(() => "hang");
    fleet.want([stable, candidate]);
    await policy.unloadAdapter(stable.name);
    await vi.waitFor(async () => expect(await served()).toEqual([stable.name]), LIMIT);
    proxy.lie(() => null);
    await fleet.awaitServed(candidate, AbortSignal.timeout(60_000));
    expect((await served()).toSorted()).toEqual([stable.name, candidate.name].toSorted());
  } finally {
    await fleet.close();
    for (const { name } of [stable, candidate]) await policy.unloadAdapter(name);
  }
});
