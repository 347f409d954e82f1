import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { silentLog } from "../../src/log.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { killNow, until } from "./processes.ts";
import { ROOT } from "./small-shop.ts";

const MAIN = join(ROOT, "src/cli/main.ts");
const isPossible = spawnSync("unshare", ["--user", "--map-root-user", "--mount", "true"]).status === 0;
const MEGABYTE = 1024 * 1024;

let directory: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "nightshift-disk-"));
});

afterAll(async () => {
  await Promise.all(children.map(killNow));
  await rm(directory, { recursive: true, force: true });
});

/** A file system of its own, so small that it fills up: visible below `inside` to `run`, and below `outside` to this process. */
async function smallDisk(name: string, megabytes: number): Promise<{ outside: string; run: (args: readonly string[]) => ChildProcess }> {
  const inside = join(directory, name);
  const mount = `mkdir -p ${inside} && mount -t tmpfs -o size=${megabytes}m tmpfs ${inside} && echo mounted && exec sleep 600`;
  const holder = spawn("unshare", ["--user", "--map-root-user", "--mount", "sh", "-c", mount], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(holder);
  await once(holder.stdout, "data");
  const enter = ["--preserve-credentials", "--user", "--mount", "--target", String(holder.pid)];
  return {
    outside: join("/proc", String(holder.pid), "root", inside),
    run(args) {
      const child = spawn("nsenter", [...enter, process.execPath, "--disable-warning=ExperimentalWarning", MAIN, ...args]);
      children.push(child);
      return child;
    },
  };
}

async function configFile(name: string): Promise<string> {
  const file = join(directory, `${name}.yaml`);
  const listeners = { collector: { port: 0 }, gateway: { port: 0 }, api: { port: 0 } };
  await writeFile(file, stringify({ dataDir: join(directory, name, "data"), logLevel: "silent", ...listeners }));
  return file;
}

test.skipIf(!isPossible)("a disk that is too small to start on: one line, the fix, and an exit code", async () => {
  const disk = await smallDisk("small", 16);
  const up = disk.run(["up", "--config", await configFile("small")]);
  let output = "";
  up.stderr?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(up, "close")) as [number | null];
  const [message, fix, ...more] = output.trimEnd().split("\n");
  expect(message).toMatch(/^the database could not be written below \S+: no space left on the device$/);
  expect(fix).toMatch(/^ {2}fix: Free disk space/);
  expect(more).toEqual([]);
  expect(code).toBe(1);
});

test.skipIf(!isPossible)(
  "a disk that fills up: nothing is acknowledged that is not stored, and capture goes on when there is space",
  async () => {
    const disk = await smallDisk("filling", 64);
    const up = disk.run(["up", "--config", await configFile("filling"), "--json"]);
    const [line] = (await once(up.stdout as NodeJS.ReadableStream, "data")) as [Buffer];
    const { collector } = JSON.parse(line.toString()) as { collector: string };
    const accepted: string[] = [];
    const send = async (index: number): Promise<number> => {
      const spanId = index.toString(16).padStart(16, "0");
      const payload = { "gen_ai.input": String(index).repeat(10_000) };
      const body = JSON.stringify(traceRequest([spanJson({ traceId: spanId.repeat(2), spanId, name: "tick", attributes: payload })]));
      const response = await fetch(`${collector}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body });
      await response.arrayBuffer();
      if (response.status === 200) accepted.push(spanId);
      return response.status;
    };

    expect(await send(1)).toBe(200);
    const ballast = join(disk.outside, "ballast");
    // Writes as much as there is room for.
    await writeFile(ballast, Buffer.alloc(64 * MEGABYTE)).catch(() => undefined);
    const full = [];
    for (let index = 2; index < 40; index += 1) full.push(await send(index));
    expect(full).toContain(503);
    expect(full.filter((status) => status !== 200 && status !== 503)).toEqual([]);

    await rm(ballast);
    await until("capture goes on", 20_000, async () => ((await send(1_000 + accepted.length + full.length++)) === 200 ? true : null));
    await killNow(up);
    const copy = join(directory, "copy");
    await cp(join(disk.outside, "data", "store"), copy, { recursive: true });
    const database = await createPglite({ dir: copy, log: silentLog() });
    try {
      const stored = new Set((await database.kysely.selectFrom("spans").select("span_id").execute()).map((row) => row.span_id));
      expect(accepted.filter((id) => !stored.has(id))).toEqual([]);
    } finally {
      await database.close();
    }
  },
);
