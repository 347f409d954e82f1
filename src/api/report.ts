import type { Kysely } from "kysely";
import type { Tables } from "../store/tables.ts";
import { funnelOf, type Funnel } from "../trajectory/funnel.ts";
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
}

/** The largest page of the store. */
const EXAMINED = 1_000;

export async function reportOf(db: Kysely<Tables>, filter: { tenant: string; agent: string }): Promise<Report> {
  const [funnel, { items }] = await Promise.all([funnelOf(db, filter), listTrajectories(db, { ...filter, limit: EXAMINED })]);
  return { ...funnel, examined: items.length, mends: mendsOf(items), dialects: dialectsOf(items) };
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
