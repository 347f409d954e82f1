import { sql } from "kysely";
import type { AgentConfig } from "../config.ts";
import type { Database } from "../store/database.ts";
import { loadRecordings } from "./load-recordings.ts";
import type { Recordings } from "./recordings.ts";

/** An agent's recordings for whoever looks at them again and again: a page, commands. A run loads its own. */
export interface RecordingsCache {
  /** As of at most `maxAgeMs` ago, or of when a load began that is still under way: quarantine and the walls of time may lag by so much, what is stored never does. The same object while nothing changes; do not change it. */
  recordings(options: { maxAgeMs: number }): Promise<Recordings>;
}

interface Kept {
  version: string;
  atMs: number;
  loading: Promise<Recordings>;
  isLoaded: boolean;
  forgetting: NodeJS.Timeout;
}

/** Nobody has looked for so long: the texts of a whole tenant are not held for the next one. */
const FORGET_AFTER_MS = 5 * 60_000;

/**
 * Loading reads a tenant's conversations and learns from all of them; that is done again only where the store says something else than before. The store's version is asked for with every
 * call, so what was erased is never shown again.
 */
export function createRecordingsCache(
  database: Database,
  of: { agent: string; config: AgentConfig },
  { now }: { now: () => number },
): RecordingsCache {
  let kept: Kept | null = null;
  const forget = (one: Kept | null): void => {
    if (one === null) return;
    clearTimeout(one.forgetting);
    if (kept === one) kept = null;
  };
  return {
    async recordings({ maxAgeMs }) {
      const version = await versionOf(database, { agent: of.agent, tenant: of.config.tenant });
      const nowMs = now();
      if (kept !== null && kept.version === version && (!kept.isLoaded || nowMs - kept.atMs <= maxAgeMs)) {
        kept.forgetting.refresh();
        return kept.loading;
      }
      forget(kept);
      const loading = loadRecordings(database, { ...of, nowMs });
      const forgetting = setTimeout(() => forget(loaded), FORGET_AFTER_MS).unref();
      const loaded: Kept = { version, atMs: nowMs, loading, isLoaded: false, forgetting };
      kept = loaded;
      loading.then(
        () => (loaded.isLoaded = true),
        () => forget(loaded),
      );
      return loading;
    },
  };
}

/**
 * One text that is another one as soon as any row that recordings are made of is written, taken over or deleted: PostgreSQL's `xmin` names the transaction that wrote a row last. What joins feedback to a
 * conversation (its spans) is left out: it ranks, and it is as old as `maxAgeMs` at most.
 */
async function versionOf({ kysely }: Database, { agent, tenant }: { agent: string; tenant: string }): Promise<string> {
  const { rows } = await sql<{ version: string }>`select concat_ws('|',
    (select concat(count(*), '/', sum(hashtextextended(concat(id, '@', version, ':', xmin::text), 0)::numeric)) from trajectories where tenant = ${tenant}),
    (select concat(count(*), '/', sum(hashtextextended(concat(target_kind, target, name, source, ':', xmin::text), 0)::numeric)) from feedback where tenant = ${tenant}),
    (select concat(count(*), '/', sum(hashtextextended(concat(id, ':', xmin::text), 0)::numeric)) from experiments where agent = ${agent}),
    (select concat(s.run_id, ':', s.xmin::text) from run_steps s join runs r on r.id = s.run_id
      where r.tenant = ${tenant} and r.agent = ${agent} and s.step = 'select' and s.output is not null order by r.started_at_ms desc limit 1)
  ) as version`.execute(kysely);
  return rows[0]?.version ?? "";
}
