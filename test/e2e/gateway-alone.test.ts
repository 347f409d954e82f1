import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { startProgram, type Started } from "../../deploy/quickstart/processes.ts";
import { AGENT, quickstartConfig } from "../../deploy/quickstart/settings.ts";
import type { Routes } from "../../src/serving/routes.ts";
import { completion, sendJson, sendRoutes, startUpstream } from "../serving/fake-upstream.ts";
import { killNow, until } from "./processes.ts";
import { ROOT } from "./small-shop.ts";

const LEASE_MS = 1_500;
const STABLE = `${AGENT}-1-aaaaaaaaaaaa`;
const CANDIDATE = `${AGENT}-2-bbbbbbbbbbbb`;
const ROUTES: Routes = {
  agent: AGENT,
  model: AGENT,
  version: 7,
  generation: 3,
  stable: { name: STABLE, digest: `sha256:${"a".repeat(64)}` },
  candidate: { name: CANDIDATE, digest: `sha256:${"b".repeat(64)}`, weight: 0.5 },
  experimentId: "experiment-1",
  salt: "salt",
};

type Upstream = Awaited<ReturnType<typeof startUpstream>>;
let directory: string;
let policyServer: Upstream;
let control: Upstream;
let configFile: string;
const gateways: Started<{ gateway: string }>[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "nightshift-gateway-"));
  policyServer = await startUpstream(({ body }, response) => sendJson(response, completion(String(body["model"]))));
  control = await startUpstream(({ url }, response) => {
    if (url === "/v1/disturbances") return sendJson(response, {}, 202);
    const version = Number(new URL(url, "http://control").searchParams.get("version"));
    if (version < ROUTES.version) sendRoutes(response, ROUTES);
    else setTimeout(() => sendRoutes(response, null, 100), 100);
  });
  const tree = quickstartConfig({ root: ROOT, dataDir: join(directory, "data"), seed: 1, sabotage: null });
  const agents = tree["agents"] as Record<string, Record<string, unknown>>;
  configFile = join(directory, "nightshift.yaml");
  const gateway = { port: 0, leaseMs: LEASE_MS, controlUrl: control.url };
  await writeFile(
    configFile,
    stringify({ ...tree, gateway, agents: { [AGENT]: { ...agents[AGENT], policyServers: [{ url: policyServer.url }] } } }),
  );
});

afterAll(async () => {
  await Promise.all(gateways.map(({ child }) => killNow(child)));
  await policyServer?.close();
  await control?.close();
  await rm(directory, { recursive: true, force: true });
});

async function startGateway(): Promise<Started<{ gateway: string }>> {
  const args = [join(ROOT, "src/cli/main.ts"), "gateway", "--config", configFile, "--json"];
  const started = await startProgram<{ gateway: string }>({
    name: "gateway",
    args,
    env: {},
    logFile: join(directory, `gateway-${gateways.length}.log`),
  });
  gateways.push(started);
  return started;
}

/** Asks with `count` fresh assignment keys; how many each model answered. Every one must be answered. */
async function ask(gateway: string, name: string, count: number): Promise<Record<string, number>> {
  const answered: Record<string, number> = {};
  for (let index = 0; index < count; index += 1) {
    const seen = policyServer.seen.length;
    const response = await fetch(`${gateway}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-session-id": `${name}-${index}` },
      body: JSON.stringify({ model: AGENT, messages: [{ role: "user", content: "hello" }] }),
    });
    expect(response.status).toBe(200);
    await response.arrayBuffer();
    const model = String(policyServer.seen[seen]?.body["model"]);
    answered[model] = (answered[model] ?? 0) + 1;
  }
  return answered;
}

test("with the control service dead every call is answered, by stable alone after the lease, also after a kill -9 of the gateway", async () => {
  const gateway = await startGateway();
  await until("both arms serve", 20_000, async () => {
    const answered = await ask(gateway.ready.gateway, `early-${policyServer.seen.length}`, 10);
    return answered[CANDIDATE] !== undefined && answered[STABLE] !== undefined ? true : null;
  });
  expect(Object.keys(await ask(gateway.ready.gateway, "live", 40)).toSorted()).toEqual([STABLE, CANDIDATE]);

  const dead = performance.now();
  await control.close();
  await until("the candidate gets nothing", 30_000, async () => {
    const answered = await ask(gateway.ready.gateway, `dying-${policyServer.seen.length}`, 20);
    return answered[CANDIDATE] === undefined ? true : null;
  });
  expect(performance.now() - dead).toBeLessThan(30_000);
  expect(await ask(gateway.ready.gateway, "orphaned", 40)).toEqual({ [STABLE]: 40 });

  await killNow(gateway.child);
  const again = await startGateway();
  expect(await ask(again.ready.gateway, "restarted", 40)).toEqual({ [STABLE]: 40 });
});
