import { sql } from "kysely";
import type { Config } from "../config.ts";
import { discoveryOf, listedServers } from "../config-policy-servers.ts";
import { nightshiftError } from "../errors.ts";
import { createDesiredAdapterStore, type DesiredAdapterStore } from "../serving/desired-adapters.ts";
import { readAdapterSlots } from "../serving/vllm-facts.ts";
import type { Database } from "../store/database.ts";

/** A policy server that cannot hold at once what the agents that share it want of it. */
export interface SlotShortage {
  url: string;
  /** Adapters that it holds. */
  slots: number;
  /** Adapters that it should: every agent's stable, candidate and last known good, and tonight's. */
  wanted: number;
  /** Agents that share it. */
  agents: number;
}

/** Counts the adapters of all agents on every policy server. */
export interface AdapterSlots {
  /** The first of the agent's servers that is too small for what all its agents want and `more` beside; null where there is room, or nobody knows how much. */
  shortage(agent: string, more: number): Promise<SlotShortage | null>;
  /**
   * Keeps a slot on each of the agent's servers for the adapter that a run is going to make, for as long as the run lasts. Two runs that begin at the same time never get the same one. What
   * was kept by a process that has died is known from its runs.
   * @throws NightshiftError `adapter_slots_exceeded`
   */
  reserve(agent: string, runId: string): Promise<void>;
}

interface Server {
  url: string;
  adapterSlots?: number | undefined;
}

/** A server is started again with other flags: what it said is forgotten after a while. */
const KEEP_MS = 60_000;

/** @param deps.found Replicas that are discovered, by agent. Unset: none are. */
export function createAdapterSlots(
  { agents }: Pick<Config, "agents">,
  {
    database,
    monotonicMs,
    found = () => [],
  }: { database: Database; monotonicMs: () => number; found?: (agent: string) => readonly { url: string }[] },
): AdapterSlots {
  const desired = createDesiredAdapterStore(database);
  const asked = new Map<string, { atMs: number; slots: Promise<number | null> }>();
  const serversOf = (agent: string): readonly Server[] => {
    const config = agents[agent];
    return config === undefined || discoveryOf(config) !== null ? found(agent) : listedServers(config);
  };
  const slotsOf = ({ url, adapterSlots }: Server): Promise<number | null> => {
    if (adapterSlots !== undefined) return Promise.resolve(adapterSlots);
    const known = asked.get(url);
    if (known !== undefined && monotonicMs() - known.atMs < KEEP_MS) return known.slots;
    const slots = readAdapterSlots(url);
    asked.set(url, { atMs: monotonicMs(), slots });
    return slots;
  };
  /** `kept`: of which agents' runs there is to be an adapter yet. */
  const shortage = async (agent: string, more: number, kept: readonly string[] = []): Promise<SlotShortage | null> => {
    for (const server of serversOf(agent)) {
      const slots = await slotsOf(server);
      if (slots === null) continue;
      const sharing = Object.keys(agents).filter((slug) => serversOf(slug).some(({ url }) => url === server.url));
      const sets = await Promise.all(sharing.map((slug) => desired.read(slug)));
      const names = new Set(sets.flatMap((set) => set?.adapters.map(({ name }) => name) ?? []));
      const wanted = names.size + kept.filter((other) => sharing.includes(other)).length + more;
      if (wanted > slots) return { url: server.url, slots, wanted, agents: sharing.length };
    }
    return null;
  };
  const reserved = new Set<string>();
  const reserve = async (agent: string, runId: string): Promise<void> => {
    const others = (await runsWithoutAdapter(database, desired)).filter(
      ({ id, isPrepared }) => id !== runId && (isPrepared || reserved.has(id)),
    );
    const found = await shortage(
      agent,
      1,
      others.map((run) => run.agent),
    );
    if (found !== null) throw nightshiftError("adapter_slots_exceeded", found);
    reserved.add(runId);
  };
  let turn: Promise<unknown> = Promise.resolve();
  return {
    shortage: (agent, more) => shortage(agent, more),
    reserve(agent, runId) {
      const reserving = turn.then(() => reserve(agent, runId));
      turn = reserving.catch(() => undefined);
      return reserving;
    },
  };
}

interface OpenRun {
  id: string;
  agent: string;
  /** It has been through here, in whatever process. */
  isPrepared: boolean;
}

/** Runs without an end, none of whose adapters its agent wants yet. */
async function runsWithoutAdapter({ kysely }: Database, desired: DesiredAdapterStore): Promise<OpenRun[]> {
  const { rows } = await sql<OpenRun>`select id, agent, exists (select 1 from run_steps
      where run_steps.run_id = runs.id and step = 'prepare' and run_steps.finished_at_ms is not null) as "isPrepared"
    from runs where state = 'running'`.execute(kysely);
  const made =
    rows.length === 0
      ? []
      : await kysely
          .selectFrom("adapters")
          .select(["run_id", "name"])
          .where(
            "run_id",
            "in",
            rows.map(({ id }) => id),
          )
          .execute();
  const wanting = await Promise.all(
    rows.map(async ({ id, agent }) => {
      const wanted = (await desired.read(agent))?.adapters ?? [];
      return made.some((adapter) => adapter.run_id === id && wanted.some(({ name }) => name === adapter.name));
    }),
  );
  return rows.filter((_, index) => wanting[index] === false);
}

/**
 * There must be room for the adapter that a night makes, or it is not even asked for. Whether there is some when it begins is seen then.
 * @throws NightshiftError `adapter_slots_exceeded`
 */
export async function requireSlot(slots: AdapterSlots, agent: string): Promise<void> {
  const shortage = await slots.shortage(agent, 1);
  if (shortage !== null) throw nightshiftError("adapter_slots_exceeded", shortage);
}
