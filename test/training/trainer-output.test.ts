import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import type { JobRunner } from "../../src/training/job-runner.ts";
import { createLocalJobRunner } from "../../src/training/local.ts";
import { awaitAdapter } from "../../src/training/trainer-output.ts";

/** A trainer that does what `plan` says for this start: its line is the exit code, `stuck` (also for SIGTERM), `silent` or `publish`. */
const TRAINER = `
import hashlib, json, os, pathlib, signal, sys, time
run = pathlib.Path(sys.argv[2])
log = (run / "log").open("a", buffering=1)
signal.signal(signal.SIGTERM, lambda *_: (log.write("term\\n"), plan == "silent" and os._exit(143)))
starts = (run / "log").read_text().count("start")
plan = (run / "plan").read_text().split()[min(starts, len((run / "plan").read_text().split()) - 1)]
log.write(f"start {os.getpid()}\\n")
beat = {"heartbeat": "2026-11-22T00:00:00Z", "phase": "training", "iteration": 1, "step": 0, "outcome": None}
(run / "status.json").write_text(json.dumps(beat))
if plan == "publish":
    (run / "adapter-1").mkdir()
    (run / "adapter-1" / "weights").write_text("w")
    digest = "sha256:" + hashlib.sha256(b"w").hexdigest()
    (run / "adapter-1" / "manifest.json").write_text(json.dumps({"files": {"weights": {"sha256": digest, "bytes": 1}}}))
elif plan.isdecimal():
    print(f"error: what ends in {plan}", file=sys.stderr)
    sys.exit(int(plan))
while plan in ("stuck", "silent"):
    time.sleep(1)
`;

let root: string;
let runDirectory: string;
let jobRunner: JobRunner;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "nightshift-trainer-"));
  runDirectory = join(root, "run");
  mkdirSync(join(root, "nightshift_trainer"));
  mkdirSync(runDirectory);
  writeFileSync(join(root, "nightshift_trainer", "__main__.py"), TRAINER);
  jobRunner = createLocalJobRunner({ python: resolve(".venv/bin/python"), trainerDirectory: root, graceMs: 200 }, { log: silentLog() });
});
afterEach(async () => {
  await jobRunner.close();
  rmSync(root, { recursive: true });
});

test("a trainer that is stuck is asked to stop, killed after the grace period, and started again", async () => {
  expect(await train("stuck publish")).toBe(join(runDirectory, "adapter-1"));
  expect(log()).toEqual(["start", "term", "start"]);
  // The one that published may still be on its way out.
  expect(pids().slice(0, 1).filter(isAlive)).toEqual([]);
});

test("one that stays silent ends the night as such after three more starts, and no process is left", async () => {
  await expect(train("silent")).rejects.toMatchObject({ code: "trainer_silent", retryable: true });
  await jobRunner.cancel("run");
  expect(log()).toEqual(["start", "term", "start", "term", "start", "term", "start", "term"]);
  expect(pids().filter(isAlive)).toEqual([]);
});

test("a full disk is tried again, three times, and then told with its detail", async () => {
  await expect(train("75")).rejects.toMatchObject({
    code: "trainer_failed",
    message: "the trainer of run run ended with exit code 75: error: what ends in 75",
  });
  expect(log()).toEqual(["start", "start", "start", "start"]);
});

test.each(["64", "65"])("exit code %s is told at once", async (code) => {
  await expect(train(code)).rejects.toMatchObject({
    code: "trainer_failed",
    message: `the trainer of run run ended with exit code ${code}: error: what ends in ${code}`,
  });
  expect(log()).toEqual(["start"]);
});

test("a trainer that a spot machine took away is started again", async () => {
  expect(await train("143 publish")).toBe(join(runDirectory, "adapter-1"));
});

/** Time passes only while a trainer is up that says nothing, so that a slow machine is no silence. */
async function train(plan: string): Promise<string> {
  writeFileSync(join(runDirectory, "plan"), plan);
  await jobRunner.start({ runId: "run", agent: "shop", runDirectory });
  const plans = plan.split(" ");
  let nowMs = 0;
  const monotonicMs = (): number => {
    const current = plans[Math.min(pids().length, plans.length) - 1];
    const isUp = log().at(-1) === "start";
    if (isUp && (current === "stuck" || current === "silent")) nowMs += 10_000;
    return nowMs;
  };
  const { signal } = new AbortController();
  const options = { runId: "run", agent: "shop", runDirectory, iteration: 1, heartbeatTimeoutMs: 60_000, signal };
  return awaitAdapter(options, { jobRunner, monotonicMs, log: silentLog() });
}

function lines(): string[] {
  try {
    return readFileSync(join(runDirectory, "log"), "utf8").split("\n").filter(Boolean);
  } catch {
    return [];
  }
}

function log(): string[] {
  return lines().map((line) => line.split(" ")[0] ?? "");
}

function pids(): number[] {
  return lines()
    .filter((line) => line.startsWith("start"))
    .map((line) => Number(line.split(" ")[1]));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
