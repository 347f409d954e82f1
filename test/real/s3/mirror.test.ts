import { once } from "node:events";
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { S3Config } from "../../../src/config-artifacts.ts";
import { silentLog } from "../../../src/log.ts";
import { handOver, plainManifest } from "../../../src/training/hand-over.ts";
import { createRunMirror, type MirrorSide, type RunMirror } from "../../../src/training/run-mirror.ts";
import { readTrainerStatus } from "../../../src/training/trainer-output.ts";
import { startS3, type S3Server } from "../parts/s3.ts";
import { startLyingStore, type LyingStore } from "./lying-store.ts";
import { killNow, makeRunDirectories, startSync, startTrainer, stop } from "./run-directory.ts";
import { BUCKET, createFolders, filesBelow, openBucket, s3Config } from "./world.ts";

const LIMIT = { timeout: 120_000, interval: 50 };
/** Processes that import half of PyTorch start several times. */
const LONG_MS = 600_000;
let server: S3Server;
let proxy: LyingStore;
let config: S3Config;
const folders = createFolders();
beforeAll(async () => {
  server = await startS3([BUCKET]);
  proxy = await startLyingStore(server.url);
});
beforeEach(() => {
  proxy.lie(() => null);
  config = s3Config(proxy.url);
});
afterAll(async () => {
  await proxy?.close();
  await server?.close();
  await folders.remove();
});

const mirror = (runDirectory: string, side: MirrorSide): RunMirror =>
  createRunMirror({ runId: "run-1", runDirectory, side, intervalMs: 20 }, { objects: openBucket(config), log: silentLog() });
const bytes = (text: string) => new TextEncoder().encode(text);
const give = (directory: string, files: Record<string, Uint8Array>): Promise<void> => {
  const map = new Map(Object.entries(files));
  return handOver(directory, map, plainManifest(map));
};
const never = () => new AbortController().signal;

/** A run directory as the control service leaves it before the trainer begins. */
async function controlDirectory(): Promise<string> {
  const directory = folders.fresh();
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "run.json"), '{"run":1}');
  await give(join(directory, "start-adapter"), {
    "adapter_config.json": bytes("{}"),
    "adapter_model.safetensors": new Uint8Array(300_000).fill(1),
  });
  await give(join(directory, "batch-1"), { "groups.jsonl.gz": new Uint8Array(100_000).fill(2) });
  return directory;
}

describe("the hand-over through a bucket", () => {
  test("a control side that another process began the run on takes run.json from there, and then the adapters", async () => {
    const [begun, taken, trainer] = [await controlDirectory(), folders.fresh(), folders.fresh()];
    await mirror(begun, "control").prepare({ signal: never() });
    await mirror(trainer, "trainer").prepare({ signal: never() });
    await give(join(trainer, "adapter-1"), { "adapter_model.safetensors": bytes("learned") });
    await mirror(trainer, "trainer").run({ signal: AbortSignal.abort() });
    await mirror(taken, "control").prepare({ signal: never() });
    expect(await readFile(join(taken, "run.json"), "utf8")).toBe('{"run":1}');
    await mirror(taken, "control").run({ signal: AbortSignal.abort() });
    expect(await readFile(join(taken, "adapter-1/adapter_model.safetensors"), "utf8")).toBe("learned");
  });

  test("a trainer's side begins with what it starts from, and run.json comes last", async () => {
    const [control, trainer] = [await controlDirectory(), folders.fresh()];
    await mirror(control, "control").prepare({ signal: never() });
    await mirror(trainer, "trainer").prepare({ signal: never() });
    expect((await filesBelow(trainer)).toSorted()).toEqual([
      "run.json",
      "start-adapter/adapter_config.json",
      "start-adapter/adapter_model.safetensors",
      "start-adapter/manifest.json",
    ]);
    for (const file of await filesBelow(trainer)) expect(await readFile(join(trainer, file))).toEqual(await readFile(join(control, file)));
    const times = await Promise.all(
      ["start-adapter/manifest.json", "run.json"].map(async (file) => (await stat(join(trainer, file))).mtimeMs),
    );
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  test("it waits for a run that is not offered yet", async () => {
    const [control, trainer] = [await controlDirectory(), folders.fresh()];
    const begun = mirror(trainer, "trainer").prepare({ signal: never() });
    await vi.waitUntil(() => proxy.calls.length > 0, LIMIT);
    await mirror(control, "control").prepare({ signal: never() });
    await begun;
    expect(await readFile(join(trainer, "run.json"), "utf8")).toBe('{"run":1}');
  });

  test.each(["flip", "truncate", "cut", "hang", "error500"] as const)(
    "a store that does %s gives the trainer nothing, and everything when it is over",
    async (fault) => {
      const [control, trainer] = [await controlDirectory(), folders.fresh()];
      config = s3Config(proxy.url, { timeoutMs: 1_000, attempts: 1 });
      await mirror(control, "control").prepare({ signal: never() });
      proxy.lie(({ method, path }) => (method === "GET" && path.includes("/runs/") ? fault : null));
      const before = proxy.calls.length;
      const begun = mirror(trainer, "trainer").prepare({ signal: never() });
      await vi.waitUntil(() => proxy.calls.slice(before).filter((call) => call.includes("/runs/")).length >= 3, LIMIT);
      expect(await filesBelow(trainer)).toEqual([]);
      proxy.lie(() => null);
      await begun;
      expect(await readFile(join(trainer, "start-adapter/adapter_model.safetensors"))).toHaveLength(300_000);
    },
  );

  test(
    "the side that is killed again and again while it brings a checkpoint ends with it whole, and with no older one",
    async () => {
      const [control, trainer, again] = [await controlDirectory(), folders.fresh(), folders.fresh()];
      await mirror(control, "control").prepare({ signal: never() });
      await mkdir(trainer, { recursive: true });
      const state = new Uint8Array(1024 * 1024).fill(9);
      await give(join(trainer, "checkpoint-2"), { "state.safetensors": new Uint8Array(1_000).fill(8) });
      await mirror(trainer, "trainer").run({ signal: AbortSignal.abort() });
      await rm(join(trainer, "checkpoint-2"), { recursive: true });
      await give(join(trainer, "checkpoint-4"), { "state.safetensors": state, "state.json": bytes("{}") });
      proxy.lie(({ method, path }) => (method === "PUT" && path.includes("checkpoint-4") ? "slow_upload" : null));
      for (let kill = 0; kill < 2; kill += 1) {
        const before = proxy.calls.length;
        const sync = await startSync(config, trainer, ["--run", "run-1"]);
        await vi.waitUntil(() => proxy.calls.slice(before).some((call) => call.startsWith("PUT") && call.includes("checkpoint-4")), LIMIT);
        await killNow(sync);
        expect(await openBucket(config).get("runs/run-1/checkpoint-4/complete")).toBeNull();
      }
      proxy.lie(() => null);
      const sync = await startSync(config, trainer, ["--run", "run-1"]);
      await vi.waitUntil(async () => (await openBucket(config).list("runs/run-1/checkpoint-2/")).length === 0, LIMIT);
      expect(await stop(sync)).toBe(0);
      await mirror(again, "trainer").prepare({ signal: never() });
      expect(await readFile(join(again, "checkpoint-4/state.safetensors"))).toEqual(Buffer.from(state));
    },
    LONG_MS,
  );

  test("a checkpoint that rotted in the bucket is passed over for the one before", async () => {
    const [control, trainer, again] = [await controlDirectory(), folders.fresh(), folders.fresh()];
    await mirror(control, "control").prepare({ signal: never() });
    for (const step of [2, 4]) await give(join(trainer, `checkpoint-${step}`), { "state.json": bytes(`${step}`) });
    await mirror(trainer, "trainer").run({ signal: AbortSignal.abort() });
    const [rotten] = (await openBucket(config).list("runs/run-1/checkpoint-4/")).filter((key) => key.endsWith("state.json"));
    await openBucket(config).replace(rotten ?? "", bytes("rot"));
    await mirror(again, "trainer").prepare({ signal: never() });
    expect((await readdir(again)).filter((name) => name.startsWith("checkpoint"))).toEqual(["checkpoint-2"]);
  });
});

test(
  "a real trainer that is lost with its machine in the middle of a run goes on elsewhere and ends where the undisturbed one does",
  async () => {
    const home = folders.fresh();
    await mkdir(home, { recursive: true });
    await makeRunDirectories(home);
    const [whole, control] = [join(home, "whole"), join(home, "control")];

    const stopping = new AbortController();
    const kept = mirror(control, "control");
    await kept.prepare({ signal: stopping.signal });
    const running = kept.run({ signal: stopping.signal });

    const lost = join(home, "lost");
    const firstSync = await startSync(config, lost, ["--run", "run-1"]);
    const firstTrainer = startTrainer(lost);
    await vi.waitUntil(async () => (await filesBelow(control)).includes("adapter-1/manifest.json"), LIMIT);
    await vi.waitUntil(async () => (await readTrainerStatus(control))?.phase === "waiting", LIMIT);
    const beat = (await readTrainerStatus(control))?.heartbeat;
    await vi.waitUntil(async () => (await readTrainerStatus(control))?.heartbeat !== beat, LIMIT);
    await killNow(firstSync, firstTrainer);
    await rm(lost, { recursive: true });

    await cp(join(whole, "batch-2"), join(control, "batch-2"), { recursive: true });
    const elsewhere = join(home, "elsewhere");
    const secondSync = await startSync(config, elsewhere, ["--run", "run-1"]);
    const [secondCode] = (await once(startTrainer(elsewhere), "exit")) as [number];
    expect(secondCode).toBe(0);
    expect(await stop(secondSync)).toBe(0);
    stopping.abort();
    await running;
    expect(await readTrainerStatus(control)).toMatchObject({ phase: "ended", resumed_from: 3, outcome: { status: "completed" } });
    for (const file of (await filesBelow(whole)).filter((name) => /^adapter-/.test(name)))
      expect([file, await readFile(join(control, file))]).toEqual([file, await readFile(join(whole, file))]);
    expect((await filesBelow(control)).filter((name) => name.startsWith("checkpoint-"))).toEqual([]);
  },
  LONG_MS,
);
