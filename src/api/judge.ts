import { createHash, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import { calibrateJudge } from "../reward/calibration/calibrate.ts";
import { listCalibrations, saveCalibration, type Calibration } from "../reward/calibration/calibration-store.ts";
import { labelSchema, MAX_LABELS } from "../reward/calibration/labels.ts";
import { resolveLabels } from "../reward/calibration/resolve.ts";
import { judgeView } from "../training/judge-trust.ts";
import type { AgentControl, ApiDeps } from "./control.ts";
import { answerInLines, type Work } from "./json-lines.ts";
import { agentOf, readBody, readQuery } from "./request.ts";
import { scopeOf } from "./scope.ts";

const price = z.number().min(0).max(1e6);
const calibrateSchema = z.strictObject({
  agent: z.string(),
  labels: z
    .array(z.strictObject({ line: z.int().positive(), label: labelSchema }))
    .min(1)
    .max(MAX_LABELS),
  repeats: z.int().min(2).max(10).default(2),
  seed: z.int().min(0).max(1_000_000).default(1),
  prices: z.strictObject({ input: price, output: price }).nullable().default(null),
  actor: z.string().min(1).max(200).default("operator"),
});

export type JudgeAnswer = Awaited<ReturnType<typeof judgeOf>>;

const SHOWN = 20;

/** `POST /judge/calibrations` answers in JSON lines while it works, and stops when nobody reads them any more. `GET /judge` has what is known. */
export function judgeRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.get("/judge", async (context) => {
    const { agent } = readQuery(context, z.strictObject({ agent: z.string() }));
    return context.json(await judgeOf(agentOf(scopeOf(context, deps), agent), deps));
  });
  app.post("/judge/calibrations", async (context) => {
    const body = await readBody(context, calibrateSchema);
    const control = agentOf(scopeOf(context, deps), body.agent);
    if (control.calibrator === null)
      throw nightshiftError("run_refused", { agent: body.agent, problem: `agents.${body.agent}.judge is not configured` });
    // What is wrong with the labels is said before the answer begins.
    const labels = await resolveLabels(body.labels, { tenant: control.config.tenant, agent: body.agent }, deps);
    return answerInLines(
      context,
      { what: "calibration", total: labels.length },
      async (work) => ({ event: "calibrated" as const, calibration: await calibrate(control, { ...body, labels, ...work }, deps) }),
      deps,
    );
  });
  return app;
}

type Asked = Omit<z.infer<typeof calibrateSchema>, "labels"> & Work & { labels: Parameters<typeof calibrateJudge>[0] };

async function calibrate({ agent, config, calibrator }: AgentControl, asked: Asked, deps: ApiDeps): Promise<Calibration> {
  if (calibrator === null) throw new Error("checked before");
  const { labels, repeats, seed, prices, signal, progress, actor } = asked;
  const id = randomUUID();
  const wait = (ms: number, aborted: AbortSignal): Promise<void> => sleep(ms, undefined, { signal: aborted });
  const report = await calibrateJudge(labels, { id, repeats, seed, prices, signal, progress }, { ...calibrator, sleep: wait });
  const labelsHash = createHash("sha256")
    .update(JSON.stringify(labels.map((label) => [label.id, label.human])))
    .digest("hex");
  const { identity } = calibrator;
  const calibration = { id, tenant: config.tenant, agent, identity, labelsHash, report, actor, createdAtMs: deps.now() };
  await saveCalibration(deps.database, calibration);
  deps.log.info({ agent, model: identity.model, agreement: report.agreement?.value ?? null }, "judge calibrated");
  return calibration;
}

async function judgeOf({ agent, config, calibrator }: AgentControl, deps: ApiDeps) {
  const { tenant } = config;
  return {
    agent,
    requireCalibration: config.requireCalibration,
    ...(await judgeView(agent, config, calibrator?.identity ?? null, deps)),
    /** Newest first, of other judges of this agent too. */
    calibrations: await listCalibrations(deps.database, { tenant, agent, limit: SHOWN }),
  };
}
