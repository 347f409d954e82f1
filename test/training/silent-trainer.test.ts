import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { silentLog, type Logger } from "../../src/log.ts";
import type { JobRunner } from "../../src/training/job-runner.ts";
import { noteSilence, silencesSince } from "../../src/training/silent-trainer.ts";
import { awaitAdapter } from "../../src/training/trainer-output.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { publish } from "../telemetry/parts.ts";

test("a silence is written down with its run, and read from a time on", async () => {
  const database = await memoryDatabase();
  const at = (atMs: number) => ({ database, log: silentLog(), now: () => atMs });
  await noteSilence({ runId: "r1", agent: "shop", silentMs: 120_000 }, at(1_000));
  await noteSilence({ runId: "r2", agent: "desk", silentMs: 90_000 }, at(2_000));
  expect(await silencesSince(0, { database })).toMatchObject([{ runId: "r1" }, { runId: "r2" }]);
  expect(await silencesSince(1_001, { database })).toMatchObject([{ runId: "r2", agent: "desk", silentMs: 90_000, atMs: 2_000 }]);
  await database.close();
});

test("a database that is away costs a line of the log, and no night", async () => {
  const database = await memoryDatabase();
  await database.close();
  const said: unknown[] = [];
  const log = { ...silentLog(), warn: (...line: unknown[]) => void said.push(line[1]) } as unknown as Logger;
  await noteSilence({ runId: "r1", agent: "shop", silentMs: 1 }, { database, log, now: () => 1 });
  expect(said).toEqual(["silent trainer not written down"]);
});

test("where trainers are started again by others, a silent one is told of once", async () => {
  const root = mkdtempSync(join(tmpdir(), "nightshift-silent-"));
  const runDirectory = join(root, "run");
  mkdirSync(runDirectory);
  writeFileSync(
    join(runDirectory, "status.json"),
    JSON.stringify({ heartbeat: "2026-11-22T00:00:00Z", phase: "training", iteration: 1, step: 3, outcome: null }),
  );
  let [nowMs, looks] = [0, 0];
  // Its pod runs all the while, a minute between two looks; at the sixth the adapter is there after all.
  const jobRunner: JobRunner = {
    traits: { restartsItself: true, giveBackAfterIdleMs: null },
    start: () => Promise.reject(new Error("nothing is started beside it")),
    status() {
      nowMs += 60_000;
      looks += 1;
      if (looks === 6) publish(join(runDirectory, "adapter-1"));
      return Promise.resolve({ status: "running" });
    },
    cancel: () => Promise.reject(new Error("nothing is stopped")),
    release: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const told: number[] = [];
  const options = { runId: "run", agent: "shop", runDirectory, iteration: 1, heartbeatTimeoutMs: 120_000 };
  const { signal } = new AbortController();
  const silent = (silentMs: number) => Promise.resolve(void told.push(silentMs));
  await awaitAdapter({ ...options, signal }, { jobRunner, log: silentLog(), monotonicMs: () => nowMs, silent });
  // The first look takes the beat for new; three minutes later it is the first above two.
  expect(told).toEqual([180_000]);
  rmSync(root, { recursive: true });
});
