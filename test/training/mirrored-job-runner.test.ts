import { once } from "node:events";
import { expect, test } from "vitest";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import type { JobRunner, JobStatus } from "../../src/training/job-runner.ts";
import { createMirroredJobRunner } from "../../src/training/mirrored-job-runner.ts";

const JOB = { runId: "run", agent: "shop", runDirectory: "/run" };

/** A runner in which both sides say in one list what they do. `lastPass` fails as often as it says. */
function worldOf({ failures = 0 } = {}) {
  const told: string[] = [];
  const status: { now: JobStatus } = { now: { status: "running" } };
  let left = failures;
  const inner: JobRunner = {
    traits: { restartsItself: true, giveBackAfterIdleMs: 1 },
    start: () => Promise.resolve(void told.push("start")),
    status: () => Promise.resolve(status.now),
    cancel: () => Promise.resolve(void told.push("cancel")),
    release: () => Promise.resolve(void told.push("release")),
    close: () => Promise.resolve(void told.push("close")),
  };
  const openMirror = () => ({
    prepare: () => Promise.resolve(void told.push("prepare")),
    async run({ signal }: { signal: AbortSignal }) {
      told.push("mirror");
      if (!signal.aborted) await once(signal, "abort");
      told.push("last pass");
      if (left-- > 0) throw nightshiftError("artifact_store_unavailable", { where: "bucket", problem: "away" });
    },
  });
  return { told, status, runner: createMirroredJobRunner(inner, { openMirror, log: silentLog() }) };
}

test("the files are there before the trainer starts, and here before it has finished", async () => {
  const { told, status, runner } = worldOf();
  await runner.start(JOB);
  await runner.start(JOB);
  expect(told).toEqual(["prepare", "mirror", "start", "start"]);
  expect(await runner.status("run")).toEqual({ status: "running" });
  status.now = { status: "finished" };
  expect([await runner.status("run"), await runner.status("run")]).toEqual([{ status: "finished" }, { status: "finished" }]);
  expect(told.slice(4)).toEqual(["last pass"]);
});

test("while the bucket is away an end is not told of, and tried for again", async () => {
  const { told, status, runner } = worldOf({ failures: 2 });
  await runner.start(JOB);
  status.now = { status: "failed", exitCode: 65, retryable: false, detail: "" };
  const unknown = { status: "unknown", detail: expect.stringContaining("its files are not here yet") };
  expect([await runner.status("run"), await runner.status("run")]).toEqual([unknown, unknown]);
  expect(await runner.status("run")).toEqual(status.now);
  expect(told).toEqual(["prepare", "mirror", "start", ...Array.from({ length: 2 }, () => ["last pass", "mirror"]).flat(), "last pass"]);
});

test("a trainer that is started again has its mirror again", async () => {
  const { told, status, runner } = worldOf();
  await runner.start(JOB);
  status.now = { status: "failed", exitCode: null, retryable: true, detail: "gone" };
  await runner.status("run");
  await runner.start(JOB);
  expect(told).toEqual(["prepare", "mirror", "start", "last pass", "prepare", "mirror", "start"]);
});

test("cancelled, it is mirrored until the trainer has stopped; let go of, at once; and closed, too", async () => {
  const cancelled = worldOf();
  await cancelled.runner.start(JOB);
  await cancelled.runner.cancel("run");
  expect(cancelled.told.slice(3)).toEqual(["cancel", "last pass"]);
  const released = worldOf({ failures: 1 });
  await released.runner.start(JOB);
  await released.runner.release("run");
  expect(released.told.slice(3).toSorted()).toEqual(["last pass", "release"]);
  const closed = worldOf();
  await closed.runner.start(JOB);
  await closed.runner.close();
  expect(closed.told.slice(3)).toEqual(["last pass", "close"]);
});
