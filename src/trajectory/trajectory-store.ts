import type { Kysely, Selectable } from "kysely";
import { indexableText } from "../store/storable.ts";
import type { Tables } from "../store/tables.ts";
import type { Message } from "../trace/message.ts";
import type { Trajectory } from "./trajectory.ts";

export interface TrajectoryRef {
  id: string;
  version: number;
}

/** A trajectory without its messages, for lists. */
export type TrajectorySummary = Omit<Trajectory, "messages"> & { messageCount: number };

export interface TrajectoryFilter {
  tenant: string;
  agent?: string;
  trainable?: boolean;
  subject?: string;
  conversationId?: string;
  /** Ended at or after this time. */
  sinceMs?: number;
  /** 1..1000, default 100. */
  limit?: number;
  /** `next` of the page before. */
  cursor?: string;
}

/** One trajectory with its messages; its newest version where none is named; null when there is none. */
export async function loadTrajectory(db: Kysely<Tables>, id: string, version?: number): Promise<Trajectory | null> {
  let query = db.selectFrom("trajectories").selectAll().where("id", "=", id).orderBy("version", "desc").limit(1);
  if (version !== undefined) query = query.where("version", "=", version);
  return (await withMessages(db, await query.execute()))[0] ?? null;
}

/** Exactly these versions, in the order asked for; those that do not exist are left out. */
export async function loadTrajectories(db: Kysely<Tables>, refs: readonly TrajectoryRef[]): Promise<Trajectory[]> {
  if (refs.length === 0) return [];
  const ids = [...new Set(refs.map(({ id }) => id))];
  const rows = await db.selectFrom("trajectories").selectAll().where("id", "in", ids).execute();
  const byRef = new Map(rows.map((row) => [`${row.id}@${row.version}`, row]));
  return withMessages(
    db,
    refs.flatMap(({ id, version }) => byRef.get(`${id}@${version}`) ?? []),
  );
}

/** The live trajectories (no superseded version) that fit, newest first. `next` is null on the last page. */
export async function listTrajectories(
  db: Kysely<Tables>,
  filter: TrajectoryFilter,
): Promise<{ items: TrajectorySummary[]; next: string | null }> {
  const limit = Math.min(Math.max(filter.limit ?? 100, 1), 1_000);
  let query = db.selectFrom("trajectories").selectAll().where("tenant", "=", filter.tenant).where("superseded", "=", false);
  if (filter.agent !== undefined) query = query.where("agent", "=", filter.agent);
  if (filter.trainable !== undefined) query = query.where("trainable", "=", filter.trainable);
  if (filter.subject !== undefined) query = query.where("subject", "=", indexableText(filter.subject));
  if (filter.conversationId !== undefined) query = query.where("conversation_id", "=", filter.conversationId);
  if (filter.sinceMs !== undefined) query = query.where("ended_at_ms", ">=", filter.sinceMs);
  const after = /^(\d{1,15})-([0-9a-f]{1,64})$/.exec(filter.cursor ?? "");
  if (after !== null) query = query.where((eb) => eb(eb.refTuple("ended_at_ms", "id"), "<", eb.tuple(Number(after[1]), after[2] ?? "")));
  const rows = await query
    .orderBy("ended_at_ms", "desc")
    .orderBy("id", "desc")
    .limit(limit + 1)
    .execute();
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  return {
    items: page.map((row) => ({ ...bodyOf(row), messageCount: row.message_hashes.length })),
    next: rows.length > limit && last !== undefined ? `${last.ended_at_ms}-${last.id}` : null,
  };
}

type Row = Selectable<Tables["trajectories"]>;

function bodyOf(row: Row): Omit<Trajectory, "messages"> {
  return row.body as unknown as Omit<Trajectory, "messages">;
}

async function withMessages(db: Kysely<Tables>, rows: readonly Row[]): Promise<Trajectory[]> {
  const hashes = [...new Set(rows.flatMap((row) => row.message_hashes))];
  const found = hashes.length === 0 ? [] : await db.selectFrom("messages").selectAll().where("hash", "in", hashes).execute();
  const messages = new Map(found.map(({ hash, body }) => [hash, body as unknown as Message]));
  // A transcript that has lost a message is one that never happened: better none than a shorter one.
  const whole = rows.filter((row) => row.message_hashes.every((hash) => messages.has(hash)));
  return whole.map((row) => ({ ...bodyOf(row), messages: row.message_hashes.flatMap((hash) => messages.get(hash) ?? []) }));
}
