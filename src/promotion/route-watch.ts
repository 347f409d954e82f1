import { routesSchema, type Routes } from "../serving/routes.ts";
import type { Database } from "../store/database.ts";
import { readLeader, type LeaderRecord } from "../store/leader-record.ts";

/** An agent's routes as a replica of the control service knows them. */
export interface WatchedRoutes {
  routes: Routes;
  /** When the leader last stood by them, on this process's monotonic clock; null: not since this process looks. */
  confirmedAtMs: number | null;
}

/**
 * What the database says of routes and of who leads, for everything that answers gateways. Leader and followers go by it alike: a leader that hangs is not
 * believed by itself either.
 */
export interface RouteWatch {
  /** Looks now. Rejects when the database cannot be read: what was known stays, and grows old. Never two at once. */
  look(): Promise<void>;
  /** When the last look began, on the monotonic clock; null before the first. */
  lookedAtMs(): number | null;
  /** As of the last look; null before the agent has routes. */
  current(agent: string): WatchedRoutes | null;
  /** Who led at the last look, and when it was last heard of on the monotonic clock; null before the first leader of all. */
  leader(): { record: LeaderRecord; heardAtMs: number | null } | null;
  /** Calls `listener` after every look. Returns how to stop. */
  subscribe(listener: () => void): () => void;
}

/**
 * Clocks of several machines cannot say how old a confirmation is. So the leader counts its turns, and whoever looks notes on its own clock when a count has
 * changed: after its previous look began. That is the earliest that it can have been, so no lease is ever held longer than it may.
 */
export function createRouteWatch(deps: { database: Database; monotonicMs: () => number }): RouteWatch {
  const { kysely } = deps.database;
  const routes = new Map<string, Routes>();
  const confirmed = new Map<string, number>();
  const listeners = new Set<() => void>();
  let leader: { record: LeaderRecord; heardAtMs: number | null } | null = null;
  let lookedAtMs: number | null = null;

  /** Only what grew within one term counts: a new leader's first count says nothing of when it was written. */
  const noteLeader = (record: LeaderRecord): void => {
    const before = leader?.record.epoch === record.epoch ? leader : null;
    const hasBeaten = before !== null && before.record.beat !== record.beat;
    leader = { record, heardAtMs: hasBeaten ? lookedAtMs : (before?.heardAtMs ?? null) };
    if (before === null || lookedAtMs === null) return;
    for (const [agent, turns] of Object.entries(record.turns)) {
      if ((before.record.turns[agent] ?? 0) < turns) confirmed.set(agent, lookedAtMs);
    }
  };

  return {
    async look() {
      const startedAtMs = deps.monotonicMs();
      // The leader first: its word is about routes at least as new as those that it had seen.
      const record = await readLeader(kysely);
      const rows = await kysely.selectFrom("routes").select("body").execute();
      for (const { body } of rows) {
        const parsed = routesSchema.parse(body);
        routes.set(parsed.agent, parsed);
      }
      if (record !== null) noteLeader(record);
      lookedAtMs = startedAtMs;
      for (const listener of listeners) listener();
    },
    current(agent) {
      const known = routes.get(agent);
      return known === undefined ? null : { routes: known, confirmedAtMs: confirmed.get(agent) ?? null };
    },
    lookedAtMs: () => lookedAtMs,
    leader: () => leader,
    subscribe(listener) {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
  };
}
