import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parseConfig, type PostgresConfig } from "../../src/config.ts";
import type { NightshiftError } from "../../src/errors.ts";
import { readPostgresUrl } from "../../src/store/postgres-url.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-url-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const SECRET = "s3cret-word";
const URL_TEXT = `postgres://nightshift:${SECRET}@db:5432/nightshift`;
const file = join(dir, "url");
writeFileSync(file, `${URL_TEXT}\n`);

const storeOf = (keys: object): PostgresConfig => parseConfig({ store: { driver: "postgres", ...keys } }).store as PostgresConfig;
const read = (keys: object, env: Record<string, string> = {}) => readPostgresUrl(storeOf(keys), env);

test("the URL comes from a file or from a variable", () => {
  expect(read({ urlFile: file })).toBe(URL_TEXT);
  expect(read({ urlEnv: "DB_URL" }, { DB_URL: URL_TEXT })).toBe(URL_TEXT);
});

test.each([
  ["neither", {}, {}, "exactly one of store.urlFile and store.urlEnv must be set"],
  ["both", { urlFile: file, urlEnv: "DB_URL" }, {}, "exactly one of store.urlFile and store.urlEnv must be set"],
  ["a file that is not there", { urlFile: join(dir, "none") }, {}, "no such file"],
  ["a variable that is not set", { urlEnv: "DB_URL" }, {}, "it is not a URL"],
  ["no URL", { urlEnv: "DB_URL" }, { DB_URL: `postgres//nightshift:${SECRET}@db` }, "it is not a URL"],
  ["another scheme", { urlEnv: "DB_URL" }, { DB_URL: `mysql://nightshift:${SECRET}@db/x` }, "its scheme is mysql:"],
  ["no database", { urlEnv: "DB_URL" }, { DB_URL: `postgres://nightshift:${SECRET}@db` }, "it names no database"],
])("%s: refused with the place, without the secret", (_, keys, env, problem) => {
  let error: NightshiftError | null = null;
  try {
    read(keys, env);
  } catch (thrown) {
    error = thrown as NightshiftError;
  }
  expect(error).toMatchObject({ code: "store_url_invalid", message: expect.stringContaining(problem) as string });
  expect(`${error?.message} ${error?.stack} ${String(error?.cause)}`).not.toContain(SECRET);
});
