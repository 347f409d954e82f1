import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { AGENT, quickstartConfig } from "../../../deploy/quickstart/settings.ts";
import { startGatewayProcess, type GatewayProcess } from "../../../src/app/gateway-process.ts";
import { parseConfig } from "../../../src/config.ts";
import { silentLog } from "../../../src/log.ts";
import { createExperimentStore } from "../../../src/promotion/experiment-store.ts";
import { createAttestationStore } from "../../../src/serving/attestation-store.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { HEADER } from "../../../src/telemetry.ts";
import { QUICKSTART } from "../../bench/canary/simulate.ts";
import { until } from "../../e2e/processes.ts";
import { ROOT } from "../../e2e/small-shop.ts";
import { echo, sendJson, startUpstream } from "../../serving/fake-upstream.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { startBalancer } from "./balancer.ts";
import { LIMITS } from "./limits.ts";
import { controlOf, createReplicas, type Replica, type Replicas } from "./replicas.ts";

/** The default: a leader whose successor took longer would cost the candidate its share. */
const LEASE_MS = 15_000;
const CANDIDATE = { name: `${AGENT}-1-aaaaaaaaaaaa`, digest: `sha256:${"a".repeat(64)}` };
/** One that no evidence and no clock of this test decides. */
const CANARY = { ...QUICKSTART, ramp: [{ weight: 0.5 }], dwellMs: 3_600_000, deadlineMs: 7_200_000, maxUnits: 100_000 };
const ID = "6f1d2f8e-0000-4000-8000-0000000000ab";

let directory: string;
let server: PostgresServer;
let database: Database;
let policyServer: Awaited<ReturnType<typeof startUpstream>>;
let balancer: Awaited<ReturnType<typeof startBalancer>>;
let replicas: Replicas;
let gateway: GatewayProcess;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "nightshift-upgrade-"));
  server = await startPostgres();
  database = createPostgres({ ...LIMITS, url: server.url }, { log: silentLog() });
  policyServer = await startUpstream((request, response) =>
    request.url.endsWith("/v1/models") ? sendJson(response, { object: "list", data: [{ id: AGENT }] }) : echo(request, response),
  );
  balancer = await startBalancer(() => replicas?.running.map(({ ready }) => ready.api) ?? []);
  await writeFile(join(directory, "url"), server.url);
  const tree = quickstartConfig({ root: ROOT, dataDir: join(directory, "data"), seed: 1, sabotage: null });
  const agents = tree["agents"] as Record<string, Record<string, unknown>>;
  const config = {
    ...tree,
    store: { driver: "postgres", urlFile: join(directory, "url"), connectTimeoutMs: 2_000 },
    transport: { driver: "kafka", brokers: ["127.0.0.1:1"] },
    gateway: { port: 0, leaseMs: LEASE_MS, controlUrl: balancer.url },
    // Its adapter agent is this test: it says that the candidate is proven.
    agents: { [AGENT]: { ...agents[AGENT], policyServers: [{ url: policyServer.url, adapterAgent: true }] } },
  };
  const configFile = join(directory, "nightshift.yaml");
  await writeFile(configFile, stringify(config));
  replicas = createReplicas({ directory, configFile });
  await replicas.start();
  await replicas.start();
  gateway = await startGatewayProcess(parseConfig({ ...config, dataDir: join(directory, "gateway") }), { log: silentLog() });
  await createAttestationStore(database).save({
    ...CANDIDATE,
    ...{ replica: `${AGENT}-0`, instance: "boot", atMs: Date.now(), status: "attested" },
    figures: { probeTokens: 256, slope: 1, t: 9, baseGap: 0 },
  });
  const stable = { name: AGENT, digest: "sha256:base" };
  await createExperimentStore({ database, now: Date.now }).submit({
    ...{ id: ID, tenant: "default", agent: AGENT, model: AGENT, runId: null, candidate: CANDIDATE, stable, salt: "upgrade" },
    ...{ canary: CANARY, horizonMs: 60_000, gate: null, automatic: true },
  });
}, 120_000);
afterAll(async () => {
  await gateway?.close();
  await replicas?.killAll();
  await balancer?.close();
  await policyServer?.close();
  await database?.close();
  await server?.remove();
  await rm(directory, { recursive: true, force: true });
});

interface Call {
  status: number;
  arm: string | null;
  atMs: number;
}

/** Calls of ever new conversations, one after the other, until it is stopped. */
function startCalling() {
  const calls: Call[] = [];
  let isOver = false;
  const calling = (async () => {
    for (let key = 0; !isOver; key++) {
      const atMs = performance.now();
      const answer = await fetch(`http://127.0.0.1:${gateway.port}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-trajectory-id": `key-${key}` },
        body: JSON.stringify({ model: AGENT, messages: [{ role: "user", content: "hi" }] }),
      });
      await answer.text();
      calls.push({ status: answer.status, arm: answer.headers.get(HEADER.arm), atMs });
      await sleep(20);
    }
  })();
  return {
    calls,
    stop: () => {
      isOver = true;
      return calling;
    },
  };
}

/** As a Deployment replaces a pod: a new one, SIGTERM for the old one, which ends by itself. */
async function replace(old: Replica): Promise<void> {
  await replicas.start();
  const gone = once(old.child, "exit");
  old.child.kill("SIGTERM");
  expect((await gone)[0]).toBe(0);
  await replicas.kill(old);
  await replicas.leader();
}

test("every replica of serve is replaced while the candidate has one half: no call fails, the canary goes on, no lease lapses", async () => {
  await until("the canary has begun", 60_000, async () =>
    (await createExperimentStore({ database, now: Date.now }).get(ID))?.state === "canary" ? true : null,
  );
  const caller = startCalling();
  const bothArms = (): Promise<true> => {
    const fromMs = performance.now();
    return until("both arms answer", 30_000, async () => {
      const recent = caller.calls.filter(({ atMs }) => atMs > fromMs);
      const ofCandidate = recent.filter(({ arm }) => arm === "candidate").length;
      return ofCandidate > 5 && recent.length - ofCandidate > 5 ? true : null;
    });
  };
  await bothArms();
  const before = (await controlOf(await replicas.leader())).leader?.epoch ?? 0;
  const upgradedFromMs = performance.now();
  const first = await replicas.leader();
  const second = replicas.running.find((replica) => replica !== first);
  for (const old of [first, second]) {
    if (old === undefined) throw new Error("there are two");
    await replace(old);
    await bothArms();
  }
  await sleep(LEASE_MS);
  await bothArms();
  await caller.stop();

  expect((await controlOf(await replicas.leader())).leader?.epoch).toBeGreaterThan(before);
  expect(caller.calls.filter(({ status }) => status !== 200)).toEqual([]);
  const store = createExperimentStore({ database, now: Date.now });
  expect(await store.get(ID)).toMatchObject({ state: "canary", conclusion: null });
  const causes = (await store.evidence(ID, 0)).flatMap((row) => (row.kind === "boundary" ? [row.cause] : []));
  expect(causes).not.toContain("lease_lapse");
  // In no second of it was the candidate without calls.
  const ofCandidate = caller.calls.filter(({ arm, atMs }) => arm === "candidate" && atMs >= upgradedFromMs).map(({ atMs }) => atMs);
  const longestGapMs = Math.max(...ofCandidate.map((atMs, index) => atMs - (ofCandidate[index - 1] ?? atMs)));
  expect(longestGapMs).toBeLessThan(LEASE_MS);
}, 240_000);
