import type { Database } from "../../store/database.ts";
import { listCalibrations, type Calibration } from "./calibration-store.ts";
import type { JudgeIdentity } from "./identity.ts";

/** What is known of a judge on one task. The agreement itself is compared, not the end of its interval. */
export type JudgeStanding =
  | { status: "uncalibrated" }
  | { status: "calibrated" | "below_agreement"; agreement: number; minAgreement: number; calibration: Calibration };

/** By the newest calibration of this very judge. */
export async function judgeStanding(
  database: Database,
  of: { tenant: string; agent: string; identity: JudgeIdentity | null; minAgreement: number },
): Promise<JudgeStanding> {
  const { tenant, agent, identity, minAgreement } = of;
  const [calibration] = identity === null ? [] : await listCalibrations(database, { tenant, agent, identity, limit: 1 });
  const agreement = calibration?.report.agreement?.value;
  if (calibration === undefined || agreement === undefined) return { status: "uncalibrated" };
  return { status: agreement < minAgreement ? "below_agreement" : "calibrated", agreement, minAgreement, calibration };
}
