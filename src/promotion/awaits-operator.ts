import type { Database } from "../store/database.ts";
import type { Fold, FoldParameters } from "./evidence.ts";

const ACTION = "experiment_awaits_operator";

/** Proven, and nothing but its judge keeps it from being promoted: somebody has to, however long that takes. Pure. */
export function awaitsOperator({ conclusion, paused, lastDecision }: Fold, { automatic }: FoldParameters): boolean {
  return !automatic && !paused && conclusion === null && lastDecision?.action === "promote";
}

/** Writes it down for those who look after the cluster (`app/cluster-mirror.ts`). Once for an experiment, whoever leads and however often the evidence goes to and fro. */
export async function noteAwaited(experimentId: string, { database, now }: { database: Database; now: () => number }): Promise<void> {
  await database.transaction(async (transaction) => {
    const known = await transaction
      .selectFrom("audit")
      .select("id")
      .where("subject", "=", experimentId)
      .where("action", "=", ACTION)
      .executeTakeFirst();
    if (known !== undefined) return;
    const row = { at_ms: now(), actor: "controller", action: ACTION, subject: experimentId, body: "{}" };
    await transaction.insertInto("audit").values(row).execute();
  });
}
