import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createApi } from "../../src/api/server.ts";
import type { Database } from "../../src/store/database.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { apiWorld, type ApiWorld } from "./world.ts";

let database: Database;
let open: ApiWorld;
let closed: ApiWorld;

beforeAll(async () => {
  database = await memoryDatabase();
  const tokenFile = join(mkdtempSync(join(tmpdir(), "nightshift-token-")), "token");
  writeFileSync(tokenFile, "s3cret\n");
  open = await apiWorld(database);
  closed = await apiWorld(database, { operatorTokenFile: tokenFile });
});
afterAll(async () => {
  await Promise.all([open.close(), closed.close()]);
  await database.close();
});

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

  it("refuses to listen for everybody", () => {
    const config = { host: "0.0.0.0", port: 0 };
    expect(() => createApi(config, {} as Parameters<typeof createApi>[1])).toThrow("the API would listen on 0.0.0.0 without a credential");
  });
});

describe("with a token", () => {
  it.each([
    { name: "none", headers: {}, status: 401 },
    { name: "a wrong one", headers: { authorization: "Bearer s3cre" }, status: 401 },
    { name: "another scheme", headers: { authorization: "Basic s3cret" }, status: 401 },
    { name: "the right one", headers: { authorization: "Bearer s3cret" }, status: 200 },
    { name: "the right one, from anywhere", headers: { authorization: "bearer s3cret", origin: "https://proxy.example" }, status: 200 },
  ])("$name → $status", async ({ headers, status }) => {
    expect((await closed.get("/v1/status", headers)).status).toBe(status);
  });

  it("guards every path of the API, known or not, and leaves health and the page open", async () => {
    for (const path of ["/v1/runs", "/v1/routes", "/v1/nothing", "/v1/lineage/x"]) expect((await closed.get(path)).status).toBe(401);
    expect((await closed.get("/health")).body).toEqual({ status: "ok" });
    expect((await closed.get("/")).status).toBe(200);
  });

  it.each([
    { name: "empty", text: "\n", says: "must hold one token" },
    { name: "two words", text: "a b", says: "must hold one token" },
    { name: "missing", text: null, says: "cannot be read" },
  ])("refuses a token file that is $name: no credential must not be the credential", ({ text, says }) => {
    const file = join(mkdtempSync(join(tmpdir(), "nightshift-token-")), "token");
    if (text !== null) writeFileSync(file, text);
    const config = { host: "0.0.0.0", port: 0, operatorTokenFile: file };
    expect(() => createApi(config, {} as Parameters<typeof createApi>[1])).toThrow(says);
  });

  it("tells nothing about the credential", async () => {
    const { body } = await closed.get("/v1/status", { authorization: "Bearer guess" });
    expect(body.error.code).toBe("not_authorised");
    expect(JSON.stringify(body)).not.toMatch(/guess|s3cret/);
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
