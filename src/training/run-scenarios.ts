import type { Scenario } from "../scenario/scenario.ts";
import type { Database } from "../store/database.ts";
import { anyErased, holdErasures } from "../store/erased-sources.ts";
import { storableJson } from "../store/storable.ts";
import { wholeScenarioOf } from "../trajectory/record-tape.ts";
import type { NightDeps } from "./night-context.ts";

/**
 * Keeps a run's scenarios, each as it was chosen last: a single step that another group was cut at is that group's from then on. Those of somebody who was erased since
 * they were chosen are left out.
 */
export async function saveScenarios(
  { database, log }: Pick<NightDeps, "database" | "log">,
  runId: string,
  scenarios: readonly Scenario[],
): Promise<void> {
  await database.transaction(
    async (trx) => {
      await holdErasures(trx);
      for (const scenario of scenarios) {
        if (await anyErased(trx, [wholeScenarioOf(scenario.id), scenario.trajectoryId])) {
          log.info({ scenario_id: scenario.id, run_id: runId }, "scenario left out: its subject was erased");
          continue;
        }
        await trx
          .insertInto("scenarios")
          .values({ run_id: runId, id: scenario.id, split: scenario.split, body: storableJson(scenario) })
          .onConflict((conflict) =>
            conflict
              .columns(["run_id", "id"])
              .doUpdateSet((excluded) => ({ split: excluded.ref("excluded.split"), body: excluded.ref("excluded.body") })),
          )
          .execute();
      }
    },
    { isolation: "read committed" },
  );
}

/** In the order asked for; those that were erased since are left out. */
export async function loadScenarios(database: Database, runId: string, ids: readonly string[]): Promise<Scenario[]> {
  if (ids.length === 0) return [];
  const rows = await database.kysely
    .selectFrom("scenarios")
    .select(["id", "body"])
    .where("run_id", "=", runId)
    .where("id", "in", ids)
    .execute();
  const bodies = new Map(rows.map((row) => [row.id, row.body as unknown as Scenario]));
  return ids.flatMap((id) => bodies.get(id) ?? []);
}
