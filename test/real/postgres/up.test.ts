import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { startProgram } from "../../../deploy/quickstart/processes.ts";
import { silentLog } from "../../../src/log.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { killNow, until } from "../../e2e/processes.ts";
import { ROOT } from "../../e2e/small-shop.ts";
import { spanJson, traceRequest } from "../../fixtures/otlp/build.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { LIMITS } from "./limits.ts";

const MAIN = join(ROOT, "src/cli/main.ts");
let directory: string;
let server: PostgresServer;
let config: string;
let up: ChildProcess | null = null;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "nightshift-up-"));
  server = await startPostgres();
  await writeFile(join(directory, "url"), server.url);
  config = join(directory, "nightshift.yaml");
  const store = { driver: "postgres", urlFile: join(directory, "url"), connectTimeoutMs: 2_000 };
  const listeners = { collector: { port: 0 }, gateway: { port: 0 }, api: { port: 0 } };
  await writeFile(config, stringify({ dataDir: join(directory, "data"), store, ...listeners }));
});
afterAll(async () => {
  if (up !== null) await killNow(up);
  await server.remove();
  await rm(directory, { recursive: true, force: true });
});

/** Runs a command of the command line to its end. */
async function run(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, ...args, "--config", config]);
  const read = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => (read.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (read.err += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...read };
}

test("doctor looks at the server, and says so when it is away; up does not start then, in one line with the fix", async () => {
  const report = await run("doctor", "--json");
  const { findings } = JSON.parse(report.out) as { findings: { check: string; status: string; message: string }[] };
  const ofDatabase = findings.filter(({ check }) => check.startsWith("database"));
  expect(ofDatabase.map(({ check, status }) => `${check} ${status}`)).toEqual([
    "database ok",
    "database rights ok",
    "database clock ok",
    "database connections ok",
  ]);
  await server.stop();
  const away = await run("doctor");
  expect(away.out).toMatch(
    /BAD {2} ?database: the database did not answer: PostgreSQL at 127\.0\.0\.1:\d+\/nightshift: connect ECONNREFUSED/,
  );
  const refused = await run("up");
  const lines = refused.err.trimEnd().split("\n");
  expect(lines[0]).toMatch(/^the database did not answer: PostgreSQL at 127\.0\.0\.1:\d+\/nightshift: connect ECONNREFUSED/);
  expect(lines[1]).toMatch(/^ {2}fix: Check that the database is up/);
  expect(lines).toHaveLength(2);
  expect(refused.code).toBe(1);
  await server.restart();
});

test("up on a server that is killed and comes back: what was accepted is stored, what could not be stored was refused, nothing else stops", async () => {
  const logFile = join(directory, "up.log");
  const started = await startProgram<{ collector: string; api: string }>({
    name: "up",
    args: [MAIN, "up", "--config", config, "--json"],
    env: {},
    logFile,
  });
  up = started.child;
  const accepted: string[] = [];
  let sent = 0;
  const send = async (): Promise<number> => {
    const spanId = (sent += 1).toString(16).padStart(16, "0");
    const body = JSON.stringify(traceRequest([spanJson({ traceId: spanId.repeat(2), spanId, name: "tick" })]));
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${started.ready.collector}/v1/traces`, { method: "POST", headers, body });
    await response.arrayBuffer();
    if (response.status === 200) accepted.push(spanId);
    return response.status;
  };
  expect(await Promise.all(Array.from({ length: 20 }, send))).toEqual(Array.from({ length: 20 }, () => 200));
  const midway = Array.from({ length: 20 }, send);
  await server.kill();
  const statuses = await Promise.all(midway);
  expect(statuses.filter((status) => status !== 200 && status !== 503)).toEqual([]);
  // The killed server's children commit until they notice.
  await until("refused", 30_000, async () => ((await send()) === 503 ? true : null));
  await server.restart();
  await until("capture goes on", 30_000, async () => ((await send()) === 200 ? true : null));
  expect(up.exitCode).toBeNull();

  const database = createPostgres({ ...LIMITS, url: server.url }, { log: silentLog() });
  const stored = new Set((await database.kysely.selectFrom("spans").select("span_id").execute()).map(({ span_id }) => span_id));
  await database.close();
  expect(accepted.filter((id) => !stored.has(id))).toEqual([]);
  expect(await readFile(logFile, "utf8")).not.toContain(new URL(server.url).password);
});
