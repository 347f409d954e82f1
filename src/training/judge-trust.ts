import { z } from "zod";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { identityKey, type JudgeIdentity } from "../reward/calibration/identity.ts";
import { judgeStanding, type JudgeStanding } from "../reward/calibration/standing.ts";
import type { Database } from "../store/database.ts";
import type { Run } from "./run-store.ts";

const planned = z.object({
  key: z.string(),
  driver: z.string(),
  model: z.string(),
  status: z.enum(["uncalibrated", "calibrated", "below_agreement"]),
  agreement: z.number().nullable(),
  minAgreement: z.number(),
  calibrationId: z.string().nullable(),
  /** Measured by the calibration; null without one. */
  repeatDeviation: z.number().nullable(),
  /** Who let it run below the agreement: an operator's name, or `config`. */
  forcedBy: z.string().nullable(),
});

/** What was known of the judge when a run began. Kept in the run's plan. */
export type PlannedJudge = z.infer<typeof planned>;

/**
 * Whether this judge may judge a run, as it is to be recorded.
 * @param force who wants it below the agreement, null where nobody does
 * @throws NightshiftError `judge_below_agreement`
 */
export async function planJudge(
  agent: string,
  config: Pick<AgentConfig, "tenant" | "judge">,
  options: { identity: JudgeIdentity | null; force: string | null },
  database: Database,
): Promise<PlannedJudge | null> {
  const { identity } = options;
  const { judge, tenant } = config;
  if (judge === undefined || identity === null) return null;
  const standing = await judgeStanding(database, { tenant, agent, identity, minAgreement: judge.minAgreement });
  const isBelow = standing.status === "below_agreement";
  const forcedBy = isBelow ? (options.force ?? (judge.allowLowAgreement ? "config" : null)) : null;
  if (isBelow && forcedBy === null)
    throw nightshiftError("judge_below_agreement", { agent, agreement: standing.agreement, minAgreement: standing.minAgreement });
  const calibration = standing.status === "uncalibrated" ? null : standing.calibration;
  return {
    ...{ key: identityKey(identity), driver: identity.driver, model: identity.model },
    status: standing.status,
    agreement: standing.status === "uncalibrated" ? null : standing.agreement,
    minAgreement: judge.minAgreement,
    calibrationId: calibration?.id ?? null,
    repeatDeviation: calibration?.report.repeatDeviation?.value ?? null,
    forcedBy,
  };
}

/** The judge of a run; null for a run that began before this was recorded. */
export function plannedJudge({ plan }: Pick<Run, "plan">): PlannedJudge | null {
  const parsed = planned.safeParse(plan["judge"]);
  return parsed.success ? parsed.data : null;
}

/**
 * Whether what this run learned may be promoted by its evidence alone. The judge of the run counts, as it is known now: who calibrated it in the meantime has calibrated what rewarded.
 */
export async function mayPromoteAlone(
  run: Pick<Run, "plan" | "agent">,
  config: AgentConfig,
  identity: JudgeIdentity | null,
  database: Database,
): Promise<boolean> {
  if (!config.requireCalibration) return true;
  const planned = plannedJudge(run);
  if (identity === null || config.judge === undefined || planned?.key !== identityKey(identity) || planned.forcedBy !== null) return false;
  const { tenant } = config;
  const standing = await judgeStanding(database, { tenant, agent: run.agent, identity, minAgreement: config.judge.minAgreement });
  return standing.status === "calibrated";
}

/** A judge at a glance. */
export interface JudgeView {
  identity: JudgeIdentity | null;
  status: JudgeStanding["status"];
  agreement: number | null;
  minAgreement: number | null;
  calibratedAtMs: number | null;
  ageMs: number | null;
}

export async function judgeView(
  agent: string,
  config: AgentConfig,
  identity: JudgeIdentity | null,
  { database, now }: { database: Database; now: () => number },
): Promise<JudgeView> {
  const minAgreement = config.judge?.minAgreement ?? null;
  const standing = await judgeStanding(database, { tenant: config.tenant, agent, identity, minAgreement: minAgreement ?? 0 });
  if (standing.status === "uncalibrated") {
    return { identity, status: standing.status, agreement: null, minAgreement, calibratedAtMs: null, ageMs: null };
  }
  const { createdAtMs } = standing.calibration;
  return {
    identity,
    status: standing.status,
    agreement: standing.agreement,
    minAgreement,
    calibratedAtMs: createdAtMs,
    ageMs: now() - createdAtMs,
  };
}
