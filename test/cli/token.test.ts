import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { createTokenMatcher } from "../../src/bearer-token.ts";
import { cli } from "./terminal.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-token-"));
afterAll(() => rmSync(dir, { recursive: true }));

const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");

it("prints a new token once, with its hash and where that goes", async () => {
  const first = await cli(["token", "--role", "gateway"]);
  const [, token = ""] = /^token {2}(nightshift_gateway_[\w-]{43}) /m.exec(first.out) ?? [];
  expect(first.out).toContain(`hash   ${hashOf(token)}`);
  expect(first.out).toContain("Add the hash to api.tokens.gateway in the config");
  expect((await cli(["token", "--role", "gateway"])).out).not.toContain(token);
});

it("writes it into a file that only its owner may read, and over none", async () => {
  const file = join(dir, "token");
  const args = ["token", "--role", "collector", "--tenant", "acme", "--file", file, "--json"];
  const told = JSON.parse((await cli(args)).out) as Record<string, string>;
  const token = readFileSync(file, "utf8").trim();
  expect(told).toEqual({ role: "collector", key: "tenants.acme.collectorTokenHashes", hash: hashOf(token), file });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const again = await cli(args);
  expect(again.code).toBe(2);
  expect(again.err).toContain("exists already");
  expect(readFileSync(file, "utf8").trim()).toBe(token);
});

it.each([
  { args: ["--role", "viewer"], key: "api.tokens.viewer" },
  { args: ["--role", "viewer", "--tenant", "acme"], key: "tenants.acme.apiTokens.viewer" },
  { args: ["--role", "collector"], key: "tenants.default.collectorTokenHashes" },
])("says that $args goes to $key", async ({ args, key }) => {
  expect(JSON.parse((await cli(["token", ...args, "--json"])).out)).toMatchObject({ key });
});

it("refuses a role that is none", async () => {
  expect((await cli(["token", "--role", "root"])).code).toBe(2);
});

it.each([
  { header: "Bearer right", value: "new" },
  { header: "bearer  right", value: "new" },
  { header: "Bearer former", value: "old" },
  { header: "Bearer wrong", value: null },
  { header: "Basic right", value: null },
  { header: "Bearer right and more", value: null },
  { header: undefined, value: null },
])("a header $header stands for $value", ({ header, value }) => {
  const known = [
    { hash: hashOf("former"), value: "old" },
    { hash: hashOf("right"), value: "new" },
  ];
  expect(createTokenMatcher(known)(header)).toBe(value);
});
