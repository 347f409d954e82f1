import { type Kysely, sql } from "kysely";
import type { Tables } from "./tables.ts";

/** Rows that hold what people said, or name them, come and go in these. */
const TABLES = [
  "spans",
  "log_events",
  "conversations",
  "conversation_traces",
  "trace_subjects",
  "former_conversations",
  "conversation_media",
  "messages",
  "trajectories",
  "feedback",
  "scenarios",
  "run_steps",
  "groups",
  "object_sources",
  "judge_results",
  "judge_sources",
  "claims",
  "erasures",
] as const satisfies readonly (keyof Tables)[];

/**
 * The embedded database, whose only user this is. "whole": every table and index is written into a new file, then a new segment of the log begins and a checkpoint lets
 * all older ones go. Postgres frees the space of deleted rows without writing over it, so nothing less removes their bytes.
 */
export async function compactAlone(kysely: Kysely<Tables>, how: "whole" | "space"): Promise<void> {
  for (const table of TABLES)
    await (how === "whole" ? sql`vacuum (full) ${sql.table(table)}` : sql`vacuum ${sql.table(table)}`).execute(kysely);
  if (how === "space") return;
  // The planner's statistics hold values of columns, and those of a table that has become empty are never replaced.
  await sql`delete from pg_statistic where starelid = any(${TABLES.map((table) => table as string)}::regclass[])`.execute(kysely);
  await sql`vacuum (full) pg_statistic`.execute(kysely);
  await sql`select pg_switch_wal()`.execute(kysely);
  await sql`checkpoint`.execute(kysely);
}

/** A server that others use: nobody is made to wait. */
export async function compactShared(kysely: Kysely<Tables>): Promise<void> {
  for (const table of TABLES) await sql`vacuum (analyze) ${sql.table(table)}`.execute(kysely);
}
