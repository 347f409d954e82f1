import { type Kysely, type Migration, Migrator, sql } from "kysely";
import { nightshiftError } from "../errors.ts";
import { initial } from "./migrations/0001-initial.ts";
import { subjects } from "./migrations/0002-subjects.ts";
import { trajectoryMedia } from "./migrations/0003-trajectory-media.ts";
import { erasureReach } from "./migrations/0004-erasure-reach.ts";
import { judgeSpending } from "./migrations/0005-judge-spending.ts";
import { judgeTrust } from "./migrations/0006-judge-trust.ts";
import { noTrajectoryMedia } from "./migrations/0007-no-trajectory-media.ts";
import type { Tables } from "./tables.ts";

/** Applied in the order of their names; a released one is never edited. */
const MIGRATIONS: Readonly<Record<string, Migration>> = {
  "0001-initial": initial,
  "0002-subjects": subjects,
  "0003-trajectory-media": trajectoryMedia,
  "0004-erasure-reach": erasureReach,
  "0005-judge-spending": judgeSpending,
  "0006-judge-trust": judgeTrust,
  "0007-no-trajectory-media": noTrajectoryMedia,
};

/** Brings the schema to the newest known migration. Idempotent. @throws NightshiftError `store_newer` */
export async function migrateToLatest(kysely: Kysely<Tables>): Promise<void> {
  await refuseNewer(kysely);
  const { error } = await migrator(kysely).migrateToLatest();
  if (error !== undefined) throw error;
}

/** One step back, for a downgrade: run it with the newer version, then start the older. Returns the name of what was undone, null when nothing is left. */
export async function migrateBack(kysely: Kysely<Tables>): Promise<string | null> {
  const { error, results } = await migrator(kysely).migrateDown();
  if (error !== undefined) throw error;
  return results?.[0]?.migrationName ?? null;
}

function migrator(kysely: Kysely<Tables>): Migrator {
  return new Migrator({ db: kysely, provider: { getMigrations: async () => ({ ...MIGRATIONS }) } });
}

async function refuseNewer(kysely: Kysely<Tables>): Promise<void> {
  const tables = await sql<{ found: string | null }>`select to_regclass('kysely_migration')::text as found`.execute(kysely);
  if ((tables.rows[0]?.found ?? null) === null) return;
  const applied = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(kysely);
  const unknown = applied.rows.find(({ name }) => !(name in MIGRATIONS));
  if (unknown !== undefined) {
    throw nightshiftError("store_newer", { found: unknown.name, known: Object.keys(MIGRATIONS).at(-1) ?? "none" });
  }
}
