import type { V1Lease } from "@kubernetes/client-node";
import { sql } from "kysely";
import { Client } from "pg";
import type { CanaryRelease } from "./canary-release.ts";
import { NAMESPACE, RELEASE } from "./canary-values.ts";
import { podOf } from "./lease-holder.ts";

/** Nobody else writes an agent's routes until what this resolves to is called. */
export async function holdRoutes(agent: string, { postgresUrl }: Pick<CanaryRelease, "postgresUrl">): Promise<() => Promise<void>> {
  const client = new Client({ connectionString: postgresUrl });
  await client.connect();
  await client.query("begin");
  await client.query("select 1 from routes where agent = $1 for update", [agent]);
  return () => client.end();
}

type WithDatabase = Pick<CanaryRelease, "database">;

/** Sessions that wait for what `holdRoutes` holds. */
export async function waitingForRoutes({ database }: WithDatabase): Promise<number[]> {
  const waiting = sql<{ pid: number }>`
    select pid from pg_stat_activity where wait_event_type = 'Lock' and query like ${'%from "routes"%for update%'}`;
  return (await waiting.execute(database.kysely)).rows.map(({ pid }) => pid);
}

/** What a session is at, in PostgreSQL's words; null when it has ended. */
export async function sessionState(pid: number, { database }: WithDatabase): Promise<string | null> {
  const { rows } = await sql<{ state: string }>`select state from pg_stat_activity where pid = ${pid}`.execute(database.kysely);
  return rows[0]?.state ?? null;
}

/** How many sessions hold or ask for the lock that the leader has. A replica asks when its term is over with all that it did in it. */
export async function candidacies({ database }: WithDatabase): Promise<number> {
  const asking = sql`select pid from pg_stat_activity where application_name = 'nightshift election'`;
  return (await asking.execute(database.kysely)).rows.length;
}

/** Collects, as `pod term`, whom the Lease called the leader, in order and until it is stopped. */
export async function followTerms({ cluster }: Pick<CanaryRelease, "cluster">): Promise<{ stop(): string[] }> {
  const seen: string[] = [];
  const leases = cluster.api.follow<V1Lease>(`/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`, (_, lease) => {
    const { holderIdentity = "", leaseTransitions } = lease?.spec ?? {};
    const line = `${podOf(holderIdentity)} ${leaseTransitions}`;
    if (lease?.metadata?.name === `${RELEASE}-serve` && seen.at(-1) !== line) seen.push(line);
  });
  await leases.isListed;
  return {
    stop() {
      leases.close();
      return seen;
    },
  };
}
