import { expect, test } from "vitest";
import { testJobRunner } from "../../conformance/job-runner.ts";
import { mostTrainersOfOneRun, startTrainers } from "./trainers.ts";

let audited: number | null = null;

testJobRunner(
  "kubernetes",
  async () => {
    const trainers = await startTrainers();
    const runners = await Promise.all([trainers.runner(), trainers.runner()]);
    const [runner, other] = runners;
    if (runner === undefined || other === undefined) throw new Error("there are two");
    return {
      runner,
      another: () => other,
      run: (runId, plan) => trainers.run(runId, plan),
      async close() {
        audited = mostTrainersOfOneRun(trainers.cluster.audit());
        for (const one of runners) await one.close();
        await trainers.close();
      },
    };
  },
  { outlives: true },
  60_000,
);

test("by the API server's audit log no run ever had two trainers", () => expect(audited).toBe(1));
