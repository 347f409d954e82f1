import type { Database } from "../../store/database.ts";
import type { CalibrationReport } from "./calibrate.ts";
import { identityKey, type JudgeIdentity } from "./identity.ts";

/** One calibration of one judge on one agent's task. Holds figures only, nobody's text. */
export interface Calibration {
  id: string;
  tenant: string;
  agent: string;
  identity: JudgeIdentity;
  /** sha256 of the labels: the same ones again give the same. */
  labelsHash: string;
  report: CalibrationReport;
  actor: string;
  createdAtMs: number;
}

/** Idempotent by id; an audit row says who calibrated. */
export async function saveCalibration(database: Database, calibration: Calibration): Promise<void> {
  const { id, tenant, agent, identity, createdAtMs, actor, report } = calibration;
  await database.transaction(async (trx) => {
    const stored = await trx
      .insertInto("judge_calibrations")
      .values({ id, tenant, agent, identity: identityKey(identity), body: JSON.stringify(calibration), created_at_ms: createdAtMs })
      .onConflict((conflict) => conflict.column("id").doNothing())
      .returning("id")
      .executeTakeFirst();
    if (stored === undefined) return;
    await trx
      .insertInto("audit")
      .values({
        at_ms: createdAtMs,
        actor,
        action: "judge_calibrated",
        subject: agent,
        body: JSON.stringify({ calibration: id, agreement: report.agreement }),
      })
      .execute();
  });
}

/** Newest first; of one judge where `identity` is given. */
export async function listCalibrations(
  database: Database,
  of: { tenant: string; agent: string; identity?: JudgeIdentity; limit: number },
): Promise<Calibration[]> {
  let query = database.kysely
    .selectFrom("judge_calibrations")
    .select("body")
    .where("tenant", "=", of.tenant)
    .where("agent", "=", of.agent)
    .orderBy("created_at_ms", "desc")
    .orderBy("id", "desc")
    .limit(of.limit);
  if (of.identity !== undefined) query = query.where("identity", "=", identityKey(of.identity));
  return (await query.execute()).map(({ body }) => body as unknown as Calibration);
}
