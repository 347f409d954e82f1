import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../e2e/processes.ts";
import type { JobRunner, JobStatus, TrainerJob } from "../../src/training/job-runner.ts";
import type { ScriptedRun } from "../training/scripted-trainer.ts";

/** Where a driver's jobs run, with trainers that do as they are told (`test/training/scripted-trainer.ts`). */
export interface JobRunnerWorld {
  runner: JobRunner;
  /** The runner of another process that has the same jobs in reach. */
  another(): JobRunner;
  /** Makes a run's directory where trainers find it. */
  run(runId: string, plan: string): ScriptedRun;
  close(): Promise<void>;
}

export interface JobRunnerTraits {
  /** A job goes on when the process that started it lets go of it. */
  outlives: boolean;
}

/** What every job runner does. `limitMs`: how long a step may take there. */
export function testJobRunner(name: string, open: () => Promise<JobRunnerWorld>, { outlives }: JobRunnerTraits, limitMs: number): void {
  describe(`${name}: the contract of JobRunner`, () => {
    let world: JobRunnerWorld;
    beforeAll(async () => {
      world = await open();
    });
    afterAll(() => world?.close());

    const begin = (plan: string, agent = "support"): { job: TrainerJob; run: ScriptedRun } => {
      const runId = randomUUID();
      const run = world.run(runId, plan);
      return { run, job: { runId, agent, runDirectory: run.runDirectory } };
    };
    const reach = (runId: string, wanted: JobStatus["status"], runner = world.runner): Promise<JobStatus> =>
      until(`run ${runId} is ${wanted}`, limitMs, async () => {
        const status = await runner.status(runId);
        if (status.status === wanted) return status;
        // What ends is not going to be anything else.
        if (status.status === "failed" && wanted !== "failed") throw new Error(JSON.stringify(status));
        return null;
      });
    const starts = (run: ScriptedRun, count: number): Promise<true> =>
      until(`${count} starts of ${run.log().join(" ")}`, limitMs, () =>
        run.log().filter((line) => line === "start").length >= count ? true : null,
      );

    test("started twice, also at once, it is one job, which finishes", { timeout: 4 * limitMs }, async () => {
      const { job, run } = begin("wait");
      await Promise.all([world.runner.start(job), world.runner.start(job)]);
      await starts(run, 1);
      await world.runner.start(job);
      expect(await reach(job.runId, "running")).toEqual({ status: "running" });
      run.go();
      expect(await reach(job.runId, "finished")).toEqual({ status: "finished" });
      expect(run.log()).toEqual(["start", "end"]);
    });

    test.each([64, 65])("exit code %i is for ever, and told with the trainer's last words", { timeout: 4 * limitMs }, async (exitCode) => {
      const { job, run } = begin(`${exitCode}`);
      await world.runner.start(job);
      const detail = expect.stringContaining(`error: what ends in ${exitCode}`);
      expect(await reach(job.runId, "failed")).toEqual({ status: "failed", exitCode, retryable: false, detail });
      expect(run.log()).toEqual(["start", "end"]);
    });

    test("a crash is not for ever: the trainer is started again, by the runner or by its caller", { timeout: 8 * limitMs }, async () => {
      const { job, run } = begin("1 publish");
      await world.runner.start(job);
      await until("it has finished", 4 * limitMs, async () => {
        const status = await world.runner.status(job.runId);
        if (status.status === "failed") {
          expect(world.runner.traits.restartsItself).toBe(false);
          expect(status).toMatchObject({ exitCode: 1, retryable: true });
          await world.runner.start(job);
        }
        return status.status === "finished" ? true : null;
      });
      expect(run.log()).toEqual(["start", "end", "start", "end"]);
    });

    test("cancelled it may checkpoint, has ended when that resolves, and can be started again", { timeout: 6 * limitMs }, async () => {
      const { job, run } = begin("wait");
      await world.runner.start(job);
      await starts(run, 1);
      await world.runner.cancel(job.runId);
      expect(run.log()).toEqual(["start", "term", "end"]);
      expect(await world.runner.status(job.runId)).toMatchObject({ status: "failed", exitCode: null, retryable: true });
      await world.runner.start(job);
      await starts(run, 2);
      run.go();
      await reach(job.runId, "finished");
      expect(run.log()).toEqual(["start", "term", "end", "start", "end"]);
    });

    test("what a trainer keeps for the next one the same agent's finds, and no other's", { timeout: 8 * limitMs }, async () => {
      const found: string[][] = [];
      for (const agent of ["support", "support", "billing"]) {
        const { job, run } = begin("keep", agent);
        await world.runner.start(job);
        await reach(job.runId, "finished");
        found.push(run.log());
      }
      expect(found).toEqual([0, 1, 0].map((files) => ["start", `found ${files}`, "end"]));
    });

    test("a run that nobody started has no trainer, and cancelling it is done at once", { timeout: 2 * limitMs }, async () => {
      const runId = randomUUID();
      await world.runner.cancel(runId);
      await world.runner.release(runId);
      expect(await world.runner.status(runId)).toMatchObject({ status: "failed", exitCode: null, retryable: true });
    });

    test("let go of, another process goes on with it, and never are there two trainers", { timeout: 6 * limitMs }, async () => {
      const { job, run } = begin("wait");
      await world.runner.start(job);
      await starts(run, 1);
      await world.runner.release(job.runId);
      const other = world.another();
      await other.start(job);
      await starts(run, outlives ? 1 : 2);
      run.go();
      await reach(job.runId, "finished", other);
      expect(run.log()).toEqual(outlives ? ["start", "end"] : ["start", "term", "end", "start", "end"]);
      await other.close();
    });
  });
}
