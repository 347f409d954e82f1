import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rolesFor } from "../../src/api/roles.ts";
import { createApi } from "../../src/api/server.ts";
import { ROLES, type Role } from "../../src/config-api.ts";
import { parseConfig } from "../../src/config.ts";
import type { Database } from "../../src/store/database.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { apiWorld, type ApiWorld } from "./world.ts";

let database: Database;
let open: ApiWorld;
let closed: ApiWorld;

beforeAll(async () => {
  database = await memoryDatabase();
  open = await apiWorld(database);
  const tokens = Object.fromEntries(ROLES.map((role) => [role, [hashOf(`${role}-old`), hashOf(role)]]));
  closed = await apiWorld(database, { tokens: { ...tokens, operator: [hashOf("old-s3cret"), hashOf("s3cret")] } });
});
afterAll(async () => {
  await Promise.all([open.close(), closed.close()]);
  await database.close();
});

function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

describe("without a token, only this machine and this site", () => {
  const port = () => new URL(open.url).port;
  it.each([
    { name: "no origin, as a command line", headers: () => ({}), status: 200 },
    { name: "its own page", headers: () => ({ origin: open.url }), status: 200 },
    { name: "localhost by name", headers: () => ({ host: `localhost:${port()}`, origin: `http://localhost:${port()}` }), status: 200 },
    { name: "another site", headers: () => ({ origin: "https://evil.example" }), status: 401 },
    { name: "a sandboxed frame", headers: () => ({ origin: "null" }), status: 401 },
    { name: "another port of this machine", headers: () => ({ origin: "http://127.0.0.1:1" }), status: 401 },
    { name: "a name that was rebound to loopback", headers: () => ({ host: "evil.example", origin: "http://evil.example" }), status: 401 },
  ])("$name → $status", async ({ headers, status }) => {
    expect((await open.get("/v1/status", headers())).status).toBe(status);
  });

  it("refuses a cross-site form before it acts", async () => {
    const before = (await open.get("/v1/runs")).body.runs.length;
    const answer = await open.post("/v1/runs", { agent: "support" }, { origin: "https://evil.example", "content-type": "text/plain" });
    expect(answer.status).toBe(401);
    expect((await open.get("/v1/runs")).body.runs).toHaveLength(before);
  });

  it.each(["0.0.0.0", "*"])("refuses to listen for everybody: %s", (host) => {
    const config = parseConfig({ api: { host } });
    expect(() => createApi(config, {} as Parameters<typeof createApi>[1])).toThrow(`the API would listen on ${host} without a credential`);
  });
});

describe("with a token", () => {
  it.each([
    { name: "none", headers: {}, status: 401 },
    { name: "a wrong one", headers: { authorization: "Bearer s3cre" }, status: 401 },
    { name: "another scheme", headers: { authorization: "Basic s3cret" }, status: 401 },
    { name: "its hash", headers: { authorization: `Bearer ${hashOf("s3cret")}` }, status: 401 },
    { name: "the right one", headers: { authorization: "Bearer s3cret" }, status: 200 },
    { name: "the one before it, while both are valid", headers: { authorization: "Bearer old-s3cret" }, status: 200 },
    { name: "the right one, from anywhere", headers: { authorization: "bearer s3cret", origin: "https://proxy.example" }, status: 200 },
  ])("$name → $status", async ({ headers, status }) => {
    expect((await closed.get("/v1/status", headers)).status).toBe(status);
  });

  it("guards every path of the API, known or not, and leaves health and the page open", async () => {
    for (const path of ["/v1/runs", "/v1/routes", "/v1/nothing", "/v1/lineage/x"]) expect((await closed.get(path)).status).toBe(401);
    expect((await closed.get("/health")).body).toEqual({ status: "ok" });
    expect((await closed.get("/ready")).status).toBe(200);
    expect((await closed.get("/")).status).toBe(200);
  });

  it("listens where it is told: on one address, or on every one", async () => {
    const statusAt = (host: string, { url }: ApiWorld): Promise<number> =>
      fetch(`http://${host}:${new URL(url).port}/health`).then(({ status }) => status);
    await expect(statusAt("127.0.0.2", closed)).rejects.toThrow("fetch failed");
    const everywhere = await apiWorld(database, { host: "*", tokens: { operator: [hashOf("s3cret")] } });
    expect(await Promise.all(["127.0.0.1", "127.0.0.2"].map((host) => statusAt(host, everywhere)))).toEqual([200, 200]);
    await everywhere.close();
  });

  it("tells nothing about the credential", async () => {
    const { body } = await closed.get("/v1/status", { authorization: "Bearer guess" });
    expect(body.error.code).toBe("not_authorised");
    expect(JSON.stringify(body)).not.toMatch(/guess|s3cret/);
  });
});

/** Every route of the API, and who may call it. */
const MAY: Record<string, readonly Role[]> = {
  "GET /v1/status": ["operator", "viewer"],
  "GET /v1/subjects/:key": ["operator", "viewer"],
  "DELETE /v1/subjects/:key": ["operator"],
  "GET /v1/report": ["operator", "viewer"],
  "GET /v1/judge": ["operator", "viewer"],
  "POST /v1/judge/calibrations": ["operator"],
  "POST /v1/bootstrap": ["operator"],
  "POST /v1/drift": ["operator"],
  "GET /v1/alarms": ["operator", "viewer"],
  "POST /v1/runs/:run/alarms/:alarm/acknowledgement": ["operator"],
  "POST /v1/runs/:id/cancellation": ["operator"],
  "GET /v1/runs": ["operator", "viewer"],
  "POST /v1/runs": ["operator"],
  "GET /v1/runs/:id": ["operator", "viewer"],
  "GET /v1/trajectories": ["operator", "viewer"],
  "GET /v1/trajectories/:id": ["operator", "viewer"],
  "GET /v1/groups": ["operator", "viewer"],
  "GET /v1/groups/:id": ["operator", "viewer"],
  "GET /v1/tools": ["operator", "viewer"],
  "GET /v1/adapters": ["operator", "viewer"],
  "GET /v1/adapters/:reference": ["operator", "viewer"],
  "GET /v1/replicas": ["operator", "viewer"],
  "GET /v1/lineage/:reference": ["operator", "viewer"],
  "POST /v1/replay/:reference": ["operator", "viewer"],
  "GET /v1/experiments": ["operator", "viewer"],
  "GET /v1/experiments/:id": ["operator", "viewer"],
  "GET /v1/experiments/:id/evidence": ["operator", "viewer"],
  "POST /v1/experiments/:id/actions": ["operator"],
  "POST /v1/feedback": ["operator", "ingest"],
  "GET /v1/traffic": ["operator", "viewer"],
  "GET /v1/routes": ["operator", "viewer", "gateway"],
  "GET /v1/upstreams": ["operator", "viewer", "gateway"],
  "POST /v1/disturbances": ["gateway"],
  "GET /v1/desired-adapters": ["operator", "viewer", "agent"],
  "POST /v1/attestations": ["agent"],
};

describe("roles", () => {
  it("are settled for every route that there is", () => {
    const directory = new URL("../../src/api/", import.meta.url);
    const sources = readdirSync(directory).filter((name) => name.endsWith(".ts"));
    const text = sources.map((name) => readFileSync(new URL(name, directory), "utf8")).join("\n");
    const found = [...text.matchAll(/app\.(get|post|put|patch|delete)\("(\/[^"]*)"/g)]
      .map(([, method = "", path = ""]) => `${method.toUpperCase()} ${path.startsWith("/v1") ? path : `/v1${path}`}`)
      .filter((route) => route !== "GET /v1/health" && route !== "GET /v1/ready");
    expect(found.toSorted()).toEqual(Object.keys(MAY).toSorted());
  });

  it.each(Object.entries(MAY))("%s", async (route, allowed) => {
    const [method = "", pattern = ""] = route.split(" ");
    const path = pattern.replaceAll(/:\w+/g, "some-id");
    expect(rolesFor(method, path).toSorted()).toEqual(allowed.toSorted());
    for (const role of ROLES) {
      const authorization = `Bearer ${role === "operator" ? "s3cret" : role}`;
      const ask = { GET: () => closed.get(path, { authorization }), DELETE: () => closed.delete(path, { authorization }) }[method];
      const { status, body } = await (ask?.() ?? closed.post(path, {}, { authorization }));
      if (allowed.includes(role)) expect([400, 200, 204, 404]).toContain(status);
      else expect([status, body.error.code]).toEqual([403, "role_refused"]);
    }
  });

  it.each([
    { request: "a path of nobody's", method: "POST", path: "/v1/nothing", roles: ["operator"] },
    { request: "a method of nobody's", method: "DELETE", path: "/v1/routes", roles: ["operator"] },
    { request: "one segment more than a row has", method: "POST", path: "/v1/feedback/more", roles: ["operator"] },
    { request: "one segment more than a placeholder", method: "POST", path: "/v1/replay/a/b", roles: ["operator"] },
    { request: "a look without the body", method: "HEAD", path: "/v1/routes", roles: ["gateway", "viewer", "operator"] },
  ])("$request: $roles", ({ method, path, roles }) => {
    expect(rolesFor(method, path)).toEqual(roles);
  });

  it("allow two tokens each and no third", () => {
    const three = ["a", "b", "c"].map(hashOf);
    expect(() => parseConfig({ api: { tokens: { viewer: three } } })).toThrow("api.tokens.viewer");
    expect(() => parseConfig({ api: { tokens: { viewer: ["s3cret"] } } })).toThrow("a SHA-256 in hex");
    expect(() => parseConfig({ api: { tokens: { admin: [] } } })).toThrow("api.tokens");
  });
});

describe("the page", () => {
  it.each(["/", "/page.css", "/parts.css", "/page.js", "/dom.js", "/charts.js", "/funnel.js", "/run.js", "/canary.js", "/stable.js"])(
    "%s is served under a policy that runs nothing but its own files",
    async (path) => {
      const { status, headers, body } = await open.get(path);
      expect(status).toBe(200);
      expect(headers["content-security-policy"]).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';/);
      expect(headers["content-security-policy"]).not.toContain("unsafe");
      expect(headers["x-content-type-options"]).toBe("nosniff");
      expect(body).not.toMatch(
        /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\bon[a-z]+=|\bstyle="|https?:\/\/(?!www\.w3\.org\/2000\/svg)/,
      );
    },
  );

  it("imports and links only files that are served", async () => {
    const html = String((await open.get("/")).body);
    const linked = [...html.matchAll(/(?:href|src)="(\/[^"]*)"/g)].map(([, path]) => path ?? "");
    const scripts = await Promise.all(
      linked.filter((path) => path.endsWith(".js")).map(async (path) => String((await open.get(path)).body)),
    );
    const imported = scripts.flatMap((text) => [...text.matchAll(/from "\.(\/[^"]+)"/g)].map(([, path]) => path ?? ""));
    expect(imported.length).toBeGreaterThan(3);
    const answers = await Promise.all([...linked, ...imported].map(async (path) => ({ path, status: (await open.get(path)).status })));
    expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
  });
});
