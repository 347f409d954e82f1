import { expect, test } from "vitest";
import { testJobRunner } from "../../conformance/job-runner.ts";
import { RUN_LABEL } from "../../../src/training/job.ts";
import type { AuditEvent } from "./control-plane.ts";
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

test("the count over the audit log would tell", () => {
  const pod = (name: string, run: string, phase: string) => ({ metadata: { name, labels: { [RUN_LABEL]: run } }, status: { phase } });
  const line = (verb: string, subresource: string, body: ReturnType<typeof pod>): AuditEvent => ({
    ...{ verb, user: { username: "system:node:n" }, stageTimestamp: "", responseStatus: { code: 200 } },
    ...{ objectRef: { resource: "pods", subresource, name: body.metadata.name }, responseObject: body },
  });
  const begun = ["a1 a", "a2 a", "b1 b"].map((names) => names.split(" ")).map(([name = "", run = ""]) => pod(name, run, "Pending"));
  const [a1, a2, b1] = begun.map((one) => [line("create", "", one), line("create", "binding", one)]);
  const over = (name: string, phase: string): AuditEvent => line("patch", "status", pod(name, name.slice(0, 1), phase));
  expect(mostTrainersOfOneRun([...(a1 ?? []), over("a1", "Failed"), ...(a2 ?? []), ...(b1 ?? [])])).toBe(1);
  expect(mostTrainersOfOneRun([...(a1 ?? []), over("a1", "Running"), ...(b1 ?? []), ...(a2 ?? []), over("a1", "Failed")])).toBe(2);
});
