import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rolesFor } from "../../src/api/roles.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { loadSigningKey } from "../../src/artifact/signing-key.ts";
import { ROLES, type Role } from "../../src/config-api.ts";
import { loadRecordings } from "../../src/rollout/load-recordings.ts";
import type { Database } from "../../src/store/database.ts";
import { cli } from "../cli/terminal.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { openScenarios } from "../scenario/settings.ts";
import { fillTenant, type TenantRows } from "./tenant-rows.ts";
import { apiWorld, NOW_MS, type Answer, type ApiWorld } from "./world.ts";

/** One request about somebody's rows, and what their owner is answered where that is not 200. */
interface Ask {
  path: string;
  body?: unknown;
  own?: number;
}

const asAgent = (path: string) => (rows: TenantRows) => [{ path: `${path}?agent=${rows.agent}` }];

/** What can be asked about a tenant's rows, route by route: a route that is not here fails the test below. */
const ASKS: Record<string, (rows: TenantRows) => Ask[]> = {
  "GET /v1/status": () => [{ path: "/v1/status" }],
  "POST /v1/runs": ({ agent }) => [
    { path: "/v1/runs", body: { agent }, own: 409 },
    { path: "/v1/runs", body: { agent, dryRun: true }, own: 500 },
  ],
  "GET /v1/runs": ({ agent }) => [{ path: "/v1/runs" }, { path: `/v1/runs?agent=${agent}` }],
  "GET /v1/runs/:id": ({ run }) => [{ path: `/v1/runs/${run}` }],
  "POST /v1/runs/:id/cancellation": ({ run }) => [{ path: `/v1/runs/${run}/cancellation`, body: {} }],
  "POST /v1/bootstrap": ({ agent }) => [{ path: "/v1/bootstrap", body: { agent }, own: 500 }],
  "GET /v1/judge": asAgent("/v1/judge"),
  "POST /v1/judge/calibrations": ({ agent, trajectory, group }) => {
    const transcript = { from: "trajectory", id: trajectory };
    const rollout = { from: "rollout", group, member: 0 };
    const label = { kind: "pair", a: transcript, b: rollout, preferred: "a" };
    return [{ path: "/v1/judge/calibrations", body: { agent, labels: [{ line: 1, label }] }, own: 422 }];
  },
  "POST /v1/drift": ({ agent }) => [{ path: "/v1/drift", body: { agent }, own: 422 }],
  "GET /v1/alarms": ({ agent, run }) => [
    { path: "/v1/alarms" },
    { path: `/v1/alarms?agent=${agent}` },
    { path: `/v1/alarms?run=${run}&open=false` },
  ],
  "POST /v1/runs/:run/alarms/:alarm/acknowledgement": ({ run }) => [
    { path: `/v1/runs/${run}/alarms/length/acknowledgement`, body: { reason: "looked" } },
  ],
  "GET /v1/experiments": asAgent("/v1/experiments"),
  "GET /v1/experiments/:id": ({ experiment }) => [{ path: `/v1/experiments/${experiment}` }],
  "GET /v1/experiments/:id/evidence": ({ experiment }) => [{ path: `/v1/experiments/${experiment}/evidence` }],
  "POST /v1/experiments/:id/actions": ({ experiment }) => [
    { path: `/v1/experiments/${experiment}/actions`, body: { action: "supersede" }, own: 202 },
  ],
  "GET /v1/traffic": asAgent("/v1/traffic"),
  "GET /v1/routes": asAgent("/v1/routes"),
  "GET /v1/upstreams": asAgent("/v1/upstreams"),
  "POST /v1/disturbances": ({ agent }) => [{ path: "/v1/disturbances", body: { agent, cause: "lease_lapse", agoMs: 1 }, own: 202 }],
  "GET /v1/report": ({ agent, tenant }) => [
    { path: `/v1/report?agent=${agent}` },
    { path: `/v1/report?agent=unknown&tenant=${tenant}` },
    { path: "/v1/report?agent=unknown" },
  ],
  "GET /v1/trajectories": asAgent("/v1/trajectories"),
  "GET /v1/trajectories/:id": ({ trajectory }) => [{ path: `/v1/trajectories/${trajectory}` }],
  "GET /v1/groups": ({ run }) => [{ path: `/v1/groups?run=${run}` }],
  "GET /v1/groups/:id": ({ group }) => [{ path: `/v1/groups/${group}` }],
  "GET /v1/tools": ({ agent }) => [{ path: `/v1/tools?agent=${agent}` }, { path: `/v1/tools?agent=${agent}&tool=lookup_order` }],
  "GET /v1/adapters": ({ agent }) => [{ path: "/v1/adapters" }, { path: `/v1/adapters?agent=${agent}` }],
  "GET /v1/adapters/:reference": ({ adapter }) => [{ path: `/v1/adapters/${adapter.name}` }, { path: `/v1/adapters/${adapter.digest}` }],
  "GET /v1/replicas": asAgent("/v1/replicas"),
  "GET /v1/lineage/:reference": (rows) => [
    ...[rows.adapter.name, rows.adapter.digest, rows.trajectory, rows.conversation, rows.response].map((reference) => ({
      path: `/v1/lineage/${reference}`,
    })),
    { path: `/v1/lineage/${encodeURIComponent("the same everywhere")}` },
  ],
  "POST /v1/replay/:reference": ({ trajectory, group }) => [
    { path: `/v1/replay/${trajectory}`, body: {} },
    { path: `/v1/replay/${group}`, body: {} },
    { path: `/v1/replay/${group}?member=0`, body: {} },
    { path: `/v1/replay/${encodeURIComponent("the same everywhere")}`, body: {} },
  ],
  "POST /v1/feedback": ({ agent, conversation }) => [
    {
      path: "/v1/feedback",
      body: { agent, items: [{ target: { kind: "conversation", id: conversation }, name: "n", value: 0 }] },
      own: 202,
    },
  ],
  "GET /v1/subjects/:key": ({ subject, tenant }) => [
    { path: `/v1/subjects/${encodeURIComponent(subject)}` },
    { path: `/v1/subjects/${encodeURIComponent(subject)}?tenant=${tenant}` },
  ],
  "DELETE /v1/subjects/:key": ({ subject, tenant }) => [{ path: `/v1/subjects/${encodeURIComponent(subject)}?tenant=${tenant}` }],
  "GET /v1/desired-adapters": asAgent("/v1/desired-adapters"),
  "POST /v1/attestations": ({ adapter }) => {
    const report = { name: adapter.name, digest: adapter.digest, replica: "r9", instance: "i", atMs: 1, status: "lost" };
    return [{ path: "/v1/attestations", body: report, own: 202 }];
  },
};

const SCENARIOS = { ...openScenarios, evaluationWindow: { minConversations: 0 } };
const north = { tenant: "north", agent: "north-desk" };
const south = { tenant: "south", agent: "south-desk" };
const home = mkdtempSync(join(tmpdir(), "nightshift-tenancy-"));
const hashOf = (token: string) => createHash("sha256").update(token).digest("hex");

let database: Database;
let own: TenantRows;
let foreign: TenantRows;
/** With both tenants, and later with the rows and the config of `south` gone. */
let world: ApiWorld;

async function open(tenants: readonly { tenant: string; agent: string }[]): Promise<ApiWorld> {
  const tokensOf = (name: string) => Object.fromEntries(ROLES.map((role) => [role, [hashOf(`${name}-${role}`)]]));
  const agents = tenants.flatMap(({ tenant, agent }) =>
    [agent, `${agent}-2`].map((slug) => [slug, { tenant, model: slug, baseModel: "base", scenario: SCENARIOS }]),
  );
  return apiWorld(database, {
    dir: home,
    tokens: tokensOf("all"),
    config: {
      tenants: Object.fromEntries(tenants.map(({ tenant }) => [tenant, { apiTokens: tokensOf(tenant) }])),
      agents: Object.fromEntries(agents) as Record<string, object>,
    },
    recordings: (agent, config) => loadRecordings(database, { agent, config, nowMs: NOW_MS }),
    models: [own, foreign].flatMap(({ agent, adapter }) => [agent, `${agent}-2`, adapter.name, `${adapter.name}.proving`]),
  });
}

function send(method: string, { path, body }: Ask, token: string): Promise<Answer> {
  const headers = { authorization: `Bearer ${token}` };
  if (method === "GET") return world.get(path, headers);
  return method === "DELETE" ? world.delete(path, headers) : world.post(path, body, headers);
}

/** Everything that a token of `north` can ask about the rows of `rows`, and what it hears: status and bytes, but for the ids of what was just made. */
async function heard(rows: TenantRows): Promise<Record<string, string>> {
  const answers: Record<string, string> = {};
  for (const [route, asks] of Object.entries(ASKS)) {
    const [method = "", pattern = ""] = route.split(" ");
    for (const role of rolesFor(method, pattern)) {
      for (const ask of asks(rows)) {
        const { status, body } = await send(method, ask, `north-${role}`);
        const text = JSON.stringify(body).replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<new id>");
        answers[`${role}: ${method} ${ask.path} ${JSON.stringify(ask.body) ?? ""}`] = `${status} ${text}`;
      }
    }
  }
  return answers;
}

const TABLES = ["trajectories", "runs", "adapters", "experiments", "feedback", "alarms", "judge_calibrations", "conversations"] as const;
const OF_TENANT = [...TABLES, "trace_subjects", "conversation_traces"] as const;

async function rowsOf(tenant: string): Promise<unknown[][]> {
  const rows = await Promise.all(
    OF_TENANT.map((table) => sql`select * from ${sql.table(table)} where tenant = ${tenant}`.execute(database.kysely)),
  );
  return rows.map((one) => one.rows);
}

async function removeSouth(): Promise<void> {
  for (const table of ["run_steps", "groups", "scenarios"] as const)
    await sql`delete from ${sql.table(table)} where run_id = ${foreign.run}`.execute(database.kysely);
  for (const table of OF_TENANT) await sql`delete from ${sql.table(table)} where tenant = 'south'`.execute(database.kysely);
  await database.kysely.deleteFrom("routes").where("agent", "=", south.agent).execute();
  await database.kysely.deleteFrom("attestations").where("digest", "=", foreign.adapter.digest).execute();
  await database.kysely.deleteFrom("settings").where("key", "=", `desired_adapters:${south.agent}`).execute();
}

beforeAll(async () => {
  database = await memoryDatabase();
  const trained = join(home, "trained");
  mkdirSync(trained);
  writeFileSync(join(trained, "adapter_config.json"), "{}");
  world = await apiWorld(database, { dir: home });
  const artifacts = createFileArtifactStore({ dir: join(home, "artifacts") });
  const deps = { database, artifacts, runs: world.runs, router: world.router, key: loadSigningKey(join(home, "keys")), trained };
  own = await fillTenant(north, deps);
  foreign = await fillTenant(south, deps);
  await world.close();
  world = await open([north, south]);
});
afterAll(async () => {
  await world.close();
  await database.close();
  rmSync(home, { recursive: true });
});

describe("a tenant's token", () => {
  it("is tried on every route that there is", () => {
    const routes = world
      .routes()
      .filter(({ method, path }) => method !== "ALL" && path.startsWith("/v1/"))
      .map(({ method, path }) => `${method} ${path}`);
    expect([...new Set(routes)].toSorted()).toEqual(Object.keys(ASKS).toSorted());
  });

  it("reaches what is its own, and a token without a tenant reaches that of both", async () => {
    for (const [route, asks] of Object.entries(ASKS)) {
      const [method = "", pattern = ""] = route.split(" ");
      // What changes something is tried last, on rows that are not needed any more.
      if (method !== "GET" && pattern !== "/v1/replay/:reference") continue;
      const role = rolesFor(method, pattern)[0] as Role;
      for (const [name, rows] of [
        ["north", own],
        ["south", foreign],
        ["all", foreign],
      ] as const) {
        for (const ask of asks(rows)) {
          // To whom both tenants are open these are ambiguous.
          const isAmbiguous = /\/subjects\/[^?]*$|agent=unknown$|the%20same%20everywhere/.test(ask.path);
          if (name === "all" && isAmbiguous) continue;
          const { status, body } = await send(method, ask, `${name}-${role}`);
          expect({ ask: ask.path, name, status }).toEqual({ ask: ask.path, name, status: 200 });
          // What the other tenant hears is something else: there is something to keep from it.
          if (ask.path === "/v1/report?agent=unknown") continue;
          const other = await send(method, ask, `${name === "north" ? "south" : "north"}-${role}`);
          expect({ ask: ask.path, body: other.body as unknown }).not.toEqual({ ask: ask.path, body: body as unknown });
        }
      }
    }
  });

  it("shows commands one tenant's agents, runs and adapters", async () => {
    const asNorth = { NIGHTSHIFT_URL: world.url, NIGHTSHIFT_TOKEN: "north-viewer" };
    for (const args of [["status"], ["runs", "list"], ["adapters", "list"], ["alarms", "list", "--all"]]) {
      const { out, code } = await cli(args, asNorth);
      expect(code).toBe(0);
      expect(out).toContain("north-desk");
      expect(out).not.toContain("south");
    }
    for (const args of [
      ["runs", "show", foreign.run],
      ["lineage", foreign.adapter.name],
      ["replay", foreign.trajectory],
    ]) {
      const { err, code } = await cli(args, asNorth);
      expect([code, err]).toEqual([1, expect.stringMatching(/^there is no /)]);
    }
  });

  it("hears of another tenant's rows what it would hear if there were none, to the byte, and changes nothing there", async () => {
    const before = await rowsOf("south");
    const [beside, ofOwn] = [await heard(foreign), await world.get("/v1/status", { authorization: "Bearer north-viewer" })];
    expect(await rowsOf("south")).toEqual(before);
    expect(JSON.stringify(ofOwn.body)).not.toContain("south");
    const elsewhere = await send("DELETE", { path: `/v1/subjects/${encodeURIComponent(foreign.subject)}` }, "north-operator");
    expect(elsewhere).toMatchObject({ status: 200, body: { tenant: "north", removed: {} } });
    expect(await rowsOf("south")).toEqual(before);
    // It was the wall that kept them: to their owner every one of these requests is something.
    for (const [route, asks] of Object.entries(ASKS)) {
      const [method = "", pattern = ""] = route.split(" ");
      for (const ask of asks(foreign)) {
        const { status } = await send(method, ask, `south-${rolesFor(method, pattern)[0]}`);
        expect({ ask, status }).toEqual({ ask, status: ask.own ?? 200 });
      }
    }
    await world.close();
    await removeSouth();
    for (const table of ["erasures", "tombstones"] as const) await database.kysely.deleteFrom(table).execute();
    world = await open([north]);
    const alone = await heard(foreign);
    expect(Object.keys(alone)).toHaveLength(Object.keys(beside).length);
    expect(beside).toEqual(alone);
    expect(Object.entries(alone).filter(([, answer]) => /^40[13]/.test(answer))).toEqual([]);
  });
});
