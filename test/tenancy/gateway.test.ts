import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { createTenantOf } from "../../collector/tenant.ts";
import { startGatewayProcess, type GatewayProcess } from "../../src/app/gateway-process.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { assignmentPoint } from "../../src/serving/assignment.ts";
import type { Routes } from "../../src/serving/routes.ts";
import { completion, sendJson, sendRoutes, startUpstream } from "../serving/fake-upstream.ts";
import { startEndpoint } from "../telemetry/endpoint.ts";

const AGENTS = ["north-desk", "north-shop", "south-desk", "south-shop"] as const;
const tenantOf = (agent: string): string => agent.split("-")[0] ?? "";
const dir = mkdtempSync(join(tmpdir(), "nightshift-tenancy-"));

/** Every agent has a stable adapter and a candidate with half of the keys. */
const routesOf = (agent: string, version: number, hasCandidate = true): Routes => ({
  ...{ agent, model: `${agent} public`, version, generation: version },
  stable: { name: `${agent}-1-aaaaaaaaaaaa`, digest: `sha256:${agent} stable` },
  candidate: hasCandidate ? { name: `${agent}-2-bbbbbbbbbbbb`, digest: `sha256:${agent} candidate`, weight: 0.5 } : null,
  experimentId: hasCandidate ? `experiment of ${agent}` : null,
  salt: hasCandidate ? `salt of ${agent}` : null,
});

const routes = new Map(AGENTS.map((agent) => [agent as string, routesOf(agent, 1)]));
const news: (() => void)[] = [];
let fleet: Awaited<ReturnType<typeof startUpstream>>;
let control: Awaited<ReturnType<typeof startUpstream>>;
let collector: Awaited<ReturnType<typeof startEndpoint>>;
let gateway: GatewayProcess;

function configOf(tenants: Record<string, object>) {
  return parseConfig({
    dataDir: join(dir, "data"),
    gateway: { port: 0, controlUrl: control.url, collectorUrl: collector.url },
    tenants,
    agents: Object.fromEntries(
      AGENTS.map((agent) => [
        agent,
        // The same name in both tenants' telemetry.
        {
          tenant: tenantOf(agent),
          model: `${agent} public`,
          baseModel: dir,
          policyServers: [{ url: fleet.url }],
          match: { serviceName: agent.split("-")[1] },
        },
      ]),
    ),
  });
}

beforeAll(async () => {
  writeFileSync(join(dir, "config.json"), "{}");
  writeFileSync(join(dir, "model.safetensors"), "");
  fleet = await startUpstream(({ body }, response) => sendJson(response, completion(body["model"] as string)));
  collector = await startEndpoint();
  control = await startUpstream(async ({ url }, response) => {
    const asked = new URL(url, "http://control").searchParams;
    const known = (): Routes | undefined => routes.get(asked.get("agent") ?? "");
    if (url === "/v1/disturbances") return sendJson(response, {}, 202);
    // As the control service: a poll without news stays open.
    if (Number(asked.get("version")) >= (known()?.version ?? 0)) await new Promise<void>((resolve) => news.push(resolve));
    sendRoutes(response, known() ?? null);
  });
  const tenants = Object.fromEntries(
    ["north", "south"].map((tenant) => {
      const file = join(dir, `${tenant}.token`);
      writeFileSync(file, `token-of-${tenant}`);
      return [tenant, { collectorTokenFile: file }];
    }),
  );
  gateway = await startGatewayProcess(configOf(tenants), { log: silentLog() });
  await vi.waitFor(async () => {
    for (const agent of AGENTS) expect((await chat(agent, "warm-up")).digest).toMatch(/ (stable|candidate)$/);
    expect(news.length).toBeGreaterThanOrEqual(AGENTS.length);
  });
});
afterAll(async () => {
  for (const resolve of news) resolve();
  await Promise.all([gateway?.close(), control?.close(), fleet?.close(), collector?.close()]);
  rmSync(dir, { recursive: true });
});

async function chat(agent: string, key: string): Promise<{ model: string; digest: string }> {
  const answer = await fetch(`http://127.0.0.1:${gateway.port}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-session-id": key },
    body: JSON.stringify({ model: `${agent} public`, messages: [{ role: "user", content: `asked of ${agent}` }] }),
  });
  return { model: ((await answer.json()) as { model: string }).model, digest: answer.headers.get("x-nightshift-adapter") ?? "" };
}

const keys = Array.from({ length: 24 }, (_, index) => `session-${index}`);
const armOf = (agent: string, key: string): string => (assignmentPoint(`salt of ${agent}`, key) < 0.5 ? "candidate" : "stable");

async function served(): Promise<Record<string, string[]>> {
  const digests = await Promise.all(AGENTS.map((agent) => Promise.all(keys.map((key) => chat(agent, key)))));
  return Object.fromEntries(AGENTS.map((agent, index) => [agent, (digests[index] ?? []).map(({ digest }) => digest)]));
}

test("one gateway splits the same sessions of four agents, each by its own experiment's salt, among that agent's adapters alone", async () => {
  const warmUp = fleet.seen.length;
  const digests = await served();
  for (const agent of AGENTS) expect(digests[agent]).toEqual(keys.map((key) => `sha256:${agent} ${armOf(agent, key)}`));
  const drawn = AGENTS.map((agent) => keys.map((key) => armOf(agent, key)).join());
  expect(new Set(drawn).size).toBe(AGENTS.length);
  for (const { body } of fleet.seen.slice(warmUp)) {
    const { model, messages } = body as { model: string; messages: { content: string }[] };
    expect(model).toMatch(new RegExp(`^${messages[0]?.content.replace("asked of ", "")}-[12]-`));
  }
});

test("a rollback of one agent's candidate moves that agent's sessions to its stable, and nobody else's", async () => {
  routes.set("north-desk", routesOf("north-desk", 2, false));
  for (const resolve of news.splice(0)) resolve();
  await vi.waitFor(async () => {
    const key = keys.find((one) => armOf("north-desk", one) === "candidate") ?? "";
    expect((await chat("north-desk", key)).digest).toBe("sha256:north-desk stable");
  });
  const digests = await served();
  expect(digests["north-desk"]).toEqual(keys.map(() => "sha256:north-desk stable"));
  for (const agent of AGENTS.slice(1)) expect(digests[agent]).toEqual(keys.map((key) => `sha256:${agent} ${armOf(agent, key)}`));
});

test("its list of models is the public names, and an adapter's own name is nobody's model", async () => {
  const url = `http://127.0.0.1:${gateway.port}/v1`;
  const { data } = (await (await fetch(`${url}/models`)).json()) as { data: { id: string }[] };
  expect(data.map(({ id }) => id)).toEqual(AGENTS.map((agent) => `${agent} public`));
  const body = JSON.stringify({ model: "south-desk-1-aaaaaaaaaaaa", messages: [] });
  const answer = await fetch(`${url}/chat/completions`, { method: "POST", body });
  expect(answer.status).toBe(404);
});

test("what it captures of a tenant's calls goes to the collector with that tenant's token, and carries no other tenant's text", async () => {
  await gateway.close();
  const requests = collector.at("/v1/traces");
  expect(new Set(requests.map(({ headers }) => headers["authorization"]))).toEqual(
    new Set(["Bearer token-of-north", "Bearer token-of-south"]),
  );
  for (const { headers, body } of requests) {
    const tenant = String(headers["authorization"]).replace("Bearer token-of-", "");
    const other = tenant === "north" ? "south" : "north";
    const text = Buffer.from(body).toString("latin1");
    expect(text).toContain(`${tenant}-`);
    expect(text).not.toContain(`${other}-`);
  }
});

test("a gateway of several tenants' agents needs a collector token of each, and a collector of several tenants needs tokens at all", async () => {
  const refused = await startGatewayProcess(configOf({ north: {}, south: {} }), { log: silentLog() }).catch((error: unknown) => error);
  expect(refused).toMatchObject({
    code: "config_invalid",
    message: expect.stringMatching(/tenants\.north\.collectorTokenFile: the gateway serves agents of north, south/) as unknown,
  });
  expect(() => createTenantOf(configOf({ north: {}, south: {} }))).toThrow(
    "config tenants.*.collectorTokenHashes: there are several tenants (north, south)",
  );
  const hash = createHash("sha256").update("token-of-south").digest("hex");
  const whose = createTenantOf(configOf({ north: {}, south: { collectorTokenHashes: [hash] } }));
  expect([whose("Bearer token-of-south"), whose("Bearer token-of-north"), whose(undefined)]).toEqual(["south", null, null]);
});
