import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { AGENT, quickstartConfig } from "../../../deploy/quickstart/settings.ts";
import type { RunView } from "../../../src/api/views.ts";
import { silentLog } from "../../../src/log.ts";
import { createGatewayRouter } from "../../../src/promotion/gateway-router.ts";
import { routesSchema, type Routes } from "../../../src/serving/routes.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { HEADER } from "../../../src/telemetry.ts";
import { until } from "../../e2e/processes.ts";
import { ROOT } from "../../e2e/small-shop.ts";
import { sendJson, startUpstream } from "../../serving/fake-upstream.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { LIMITS } from "./limits.ts";
import { controlOf, createReplicas, type Replica, type Replicas } from "./replicas.ts";

let directory: string;
let server: PostgresServer;
let database: Database;
let policyServer: Awaited<ReturnType<typeof startUpstream>>;
let replicas: Replicas;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "nightshift-serve-"));
  server = await startPostgres();
  database = createPostgres({ ...LIMITS, url: server.url }, { log: silentLog() });
  policyServer = await startUpstream((_, response) => sendJson(response, { object: "list", data: [{ id: AGENT }] }));
  await writeFile(join(directory, "url"), server.url);
  const tree = quickstartConfig({ root: ROOT, dataDir: join(directory, "data"), seed: 1, sabotage: null });
  const agents = tree["agents"] as Record<string, Record<string, unknown>>;
  const store = { driver: "postgres", urlFile: join(directory, "url"), connectTimeoutMs: 2_000 };
  // Nobody here publishes or reads telemetry.
  const transport = { driver: "kafka", brokers: ["127.0.0.1:1"] };
  const configFile = join(directory, "nightshift.yaml");
  const agent = { ...agents[AGENT], policyServers: [{ url: policyServer.url }] };
  await writeFile(configFile, stringify({ ...tree, store, transport, agents: { [AGENT]: agent } }));
  replicas = createReplicas({ directory, configFile });
  await replicas.start();
  await replicas.start();
});
afterAll(async () => {
  await replicas?.killAll();
  await policyServer?.close();
  await database?.close();
  await server?.remove();
  await rm(directory, { recursive: true, force: true });
});

async function follower(): Promise<Replica> {
  const leader = await replicas.leader();
  const other = replicas.running.find((replica) => replica !== leader);
  if (other === undefined) throw new Error("there is no follower");
  return other;
}

/** A gateway's poll. `confirmedMs`: when the leader last stood by the routes, after the request came; null: unknown. */
async function poll(replica: Replica, query: { version: number; waitMs?: number }) {
  const search = new URLSearchParams({ agent: AGENT, version: String(query.version), waitMs: String(query.waitMs ?? 0) });
  const answer = await fetch(`${replica.ready.api}/v1/routes?${search.toString()}`);
  const confirmed = answer.headers.get(HEADER.confirmed);
  const routes: Routes | null = answer.status === 200 ? routesSchema.parse(await answer.json()) : null;
  return { status: answer.status, confirmedMs: confirmed === null ? null : Number(confirmed), routes };
}

test("of two replicas one leads, both say which, and what a follower is asked for is done by the leader", async () => {
  const leader = await replicas.leader();
  const other = await follower();
  expect(await controlOf(leader)).toMatchObject({ role: "leader", answeredBy: leader.ready.name });
  expect(await controlOf(other)).toMatchObject({ role: "follower", answeredBy: other.ready.name, leader: { name: leader.ready.name } });
  expect((await fetch(`${other.ready.api}/`)).status).toBe(200);

  const asked = await fetch(`${other.ready.api}/v1/runs`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ agent: AGENT }),
  });
  expect(asked.status).toBe(202);
  const { runId } = (await asked.json()) as { runId: string };
  const run = await until("the leader has carried the run out", 30_000, async () => {
    const view = (await (await fetch(`${other.ready.api}/v1/runs/${runId}`)).json()) as RunView;
    return view.state === "running" ? null : view;
  });
  expect(run).toMatchObject({ state: "finished", outcome: { kind: "nothing_to_learn" } });
  expect(await readFile(leader.logFile, "utf8")).toContain("run finished");
  expect(await readFile(other.logFile, "utf8")).not.toContain("run finished");
});

test("a follower answers a waiting gateway within two seconds of the leader's decision, with the leader's word for it", async () => {
  const other = await follower();
  await until("the leader's word", 20_000, async () => ((await poll(other, { version: 0 })).confirmedMs ?? -60_000) > -5_000 || null);
  const { routes } = await poll(other, { version: 0 });
  if (routes === null) throw new Error("there are routes by now");
  const waiting = poll(other, { version: routes.version, waitMs: 30_000 });
  await new Promise((resolve) => {
    setTimeout(resolve, 300);
  });
  const decidedAtMs = performance.now();
  await createGatewayRouter({ database, log: silentLog() }).setRoutes({ ...routes, salt: "new" });
  expect((await waiting).routes).toMatchObject({ version: routes.version + 1, salt: "new" });
  expect(performance.now() - decidedAtMs).toBeLessThan(2_000);
});

test("kill -9 of the leader: the other one leads, the killed one comes back as a follower", async () => {
  const leader = await replicas.leader();
  const { leader: before } = await controlOf(leader);
  await replicas.kill(leader);
  const next = await replicas.leader();
  expect((await controlOf(next)).leader?.epoch).toBeGreaterThan(before?.epoch ?? 0);
  const back = await replicas.start();
  expect((await replicas.leader()).ready.name).toBe(next.ready.name);
  expect((await controlOf(back)).role).toBe("follower");
});

test("a leader that is frozen: its word grows old at the follower, which then leads; when it wakes it has stopped leading", async () => {
  const leader = await replicas.leader();
  const other = await follower();
  leader.child.kill("SIGSTOP");
  const oldest = await until("its word grows old", 20_000, async () => {
    const { confirmedMs } = await poll(other, { version: 0 });
    return confirmedMs !== null && confirmedMs < -3_000 ? confirmedMs : null;
  });
  expect(oldest).toBeLessThan(-3_000);
  await until("the other leads", 40_000, async () => ((await controlOf(other)).role === "leader" ? true : null));
  leader.child.kill("SIGCONT");
  expect((await replicas.leader()).ready.name).toBe(other.ready.name);
  expect((await controlOf(leader)).role).toBe("follower");
  expect(await readFile(leader.logFile, "utf8")).toContain("leadership lost");
});

test("kill -9 of the database: nobody stands by anything meanwhile, and one leads when it is back", async () => {
  const before = await controlOf(await replicas.leader());
  await server.kill();
  await until("no leader", 30_000, async () => {
    const texts = await Promise.all(replicas.running.map(({ logFile }) => readFile(logFile, "utf8")));
    return (
      texts.some((text) =>
        text.split("\n").some((line) => line.includes("leadership lost") && line.includes(`"epoch":${before.leader?.epoch}`)),
      ) || null
    );
  });
  await server.restart();
  // A replica knows that it leads a moment before it has read the record of it.
  const after = await until("a new term is known", 30_000, async () => {
    const view = await controlOf(await replicas.leader());
    return (view.leader?.epoch ?? 0) > (before.leader?.epoch ?? 0) ? view : null;
  });
  expect(after.role).toBe("leader");
});

test("SIGTERM of the leader hands over and exits 0", async () => {
  const leader = await replicas.leader();
  const gone = once(leader.child, "exit");
  leader.child.kill("SIGTERM");
  expect((await gone)[0]).toBe(0);
  await replicas.kill(leader);
  expect((await replicas.leader()).ready.name).not.toBe(leader.ready.name);
});
