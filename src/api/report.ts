import type { Kysely } from "kysely";
import type { Tables } from "../store/tables.ts";
import { funnelOf, type Funnel } from "../trajectory/funnel.ts";
import { UNKNOWN_AGENT } from "../trajectory/match-agent.ts";
import { mendOf } from "../trajectory/mend.ts";
import type { Reason } from "../trajectory/trajectory.ts";
import { listTrajectories, type TrajectorySummary } from "../trajectory/trajectory-store.ts";

/** The funnel, and of the newest trajectories what their SDKs recorded and what would mend the rest. */
export interface Report extends Funnel {
  /** How many of the newest trajectories the two lists below are about. */
  examined: number;
  /** Most frequent first. One trajectory may have several. */
  mends: { reason: Reason; trajectories: number; mend: string }[];
  /** Shape of the telemetry as it came over the wire, and how much of it can teach. */
  dialects: { dialect: string; trajectories: number; trainable: number }[];
  /** What told one conversation from another, of all that are kept; `trace` where no span named a conversation or a session. Most frequent first. */
  keys: { kind: string; conversations: number }[];
  /** Conversations of the tenant that match no agent of the config. */
  unmatched: number;
}

/** The largest page of the store. */
const EXAMINED = 1_000;

export async function reportOf(db: Kysely<Tables>, filter: { tenant: string; agent: string }): Promise<Report> {
  const [funnel, unmatched, { items }, keys] = await Promise.all([
    funnelOf(db, filter),
    funnelOf(db, { ...filter, agent: UNKNOWN_AGENT }),
    listTrajectories(db, { ...filter, limit: EXAMINED }),
    keysOf(db, filter),
  ]);
  return { ...funnel, examined: items.length, mends: mendsOf(items), dialects: dialectsOf(items), keys, unmatched: unmatched.captured };
}

async function keysOf(db: Kysely<Tables>, { tenant, agent }: { tenant: string; agent: string }): Promise<Report["keys"]> {
  const rows = await db
    .selectFrom("conversations")
    .select(["key_kind as kind", (eb) => eb.fn.countAll<number>().as("conversations")])
    .where("tenant", "=", tenant)
    .where("agent", "=", agent)
    // A trace whose first spans came before the one that names the conversation began as its own: moved since, it left an empty row.
    .where((eb) =>
      eb.exists(eb.selectFrom("conversation_traces as t").select("t.trace_id").whereRef("t.conversation_id", "=", "conversations.id")),
    )
    .groupBy("key_kind")
    .execute();
  return rows.toSorted((a, b) => b.conversations - a.conversations);
}

function mendsOf(trajectories: readonly TrajectorySummary[]): Report["mends"] {
  const found = trajectories.flatMap(({ verdict, dialects }) =>
    verdict.reasons.map((reason) => ({ reason, mend: mendOf(reason, dialects) })),
  );
  const groups = Map.groupBy(found, ({ reason, mend }) => `${reason} ${mend}`);
  return [...groups.values()]
    .flatMap((group) => (group[0] === undefined ? [] : [{ ...group[0], trajectories: group.length }]))
    .toSorted((a, b) => b.trajectories - a.trajectories);
}

function dialectsOf(trajectories: readonly TrajectorySummary[]): Report["dialects"] {
  const groups = Map.groupBy(trajectories, ({ dialects }) => dialects.join(", ") || "none");
  return [...groups].map(([dialect, group]) => ({
    dialect,
    trajectories: group.length,
    trainable: group.filter(({ verdict }) => verdict.trainable).length,
  }));
}
