import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { withIdleTrainer } from "../../src/training/idle-trainer.ts";
import type { JobRunner, JobStatus } from "../../src/training/job-runner.ts";

let runDirectory: string;
beforeEach(() => {
  runDirectory = mkdtempSync(join(tmpdir(), "nightshift-idle-"));
});
afterEach(() => rmSync(runDirectory, { recursive: true }));

/** A runner whose clock goes on by ten seconds with every look, and what was asked of it. */
function runnerOf(
  status: JobStatus,
  {
    giveBackAfterIdleMs = 30_000,
    cancel = () => Promise.resolve(),
  }: { giveBackAfterIdleMs?: number | null; cancel?: () => Promise<void> } = {},
) {
  let nowMs = 0;
  const asked: string[] = [];
  const jobRunner: JobRunner = {
    traits: { restartsItself: true, giveBackAfterIdleMs },
    start: () => Promise.resolve(void asked.push("start")),
    status: () => Promise.resolve(((nowMs += 10_000), asked.push("look"), status)),
    cancel: () => (asked.push("cancel"), cancel()),
    release: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const run = { runId: "run", agent: "shop", runDirectory, signal: new AbortController().signal };
  const looked = async (times: number): Promise<void> => {
    while (asked.filter((one) => one === "look").length < times) await sleep(20);
  };
  return {
    asked,
    looked,
    during: <T>(work: () => Promise<T>) => withIdleTrainer(run, { jobRunner, log: silentLog(), monotonicMs: () => nowMs }, work),
  };
}

function phase(name: string): void {
  writeFileSync(join(runDirectory, "status.json"), JSON.stringify({ heartbeat: "", phase: name, iteration: 1, step: 0, outcome: null }));
}

test("a trainer that waits for its batch longer than it may is stopped, and started again when the batch is there", async () => {
  phase("waiting");
  const { asked, during } = runnerOf({ status: "running" });
  const stopped = async (): Promise<string> => {
    while (!asked.includes("cancel")) await sleep(20);
    return "groups";
  };
  // The first look begins to count; the fourth finds thirty seconds.
  expect(await during(stopped)).toEqual({ result: "groups", idleMs: 30_000 });
  expect(asked).toEqual(["look", "look", "look", "look", "cancel", "start"]);
});

test("its idle time is told also where nobody wants it back", async () => {
  phase("waiting");
  const { asked, looked, during } = runnerOf({ status: "running" }, { giveBackAfterIdleMs: null });
  expect(await during(() => looked(3))).toMatchObject({ idleMs: 20_000 });
  expect(asked).not.toContain("cancel");
});

test.each([
  ["it trains", "training", { status: "running" }],
  ["it has no place that it could hold", "waiting", { status: "waiting", reason: "Unschedulable", detail: "" }],
  ["nobody knows", "waiting", { status: "unknown", detail: "" }],
] as const)("while %s nothing is idle", async (_, name, status) => {
  phase(name);
  const { looked, during } = runnerOf(status, { giveBackAfterIdleMs: 1 });
  expect(await during(() => looked(3))).toMatchObject({ idleMs: 0 });
});

test("one that could not be stopped is started all the same, which finds it", async () => {
  phase("waiting");
  const { asked, during } = runnerOf({ status: "running" }, { giveBackAfterIdleMs: 10_000, cancel: () => Promise.reject(new Error("no")) });
  const tried = async (): Promise<void> => {
    while (!asked.includes("cancel")) await sleep(20);
  };
  await during(tried);
  expect(asked.at(-1)).toBe("start");
});

test("what fails in between fails, and nothing is started for it", async () => {
  phase("waiting");
  const { asked, looked, during } = runnerOf({ status: "running" });
  await expect(during(() => looked(1).then(() => Promise.reject(new Error("no judge"))))).rejects.toThrow("no judge");
  expect(asked).not.toContain("start");
});
