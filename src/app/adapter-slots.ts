import type { Config } from "../config.ts";
import { discoveryOf, listedServers } from "../config-policy-servers.ts";
import { nightshiftError } from "../errors.ts";
import { createDesiredAdapterStore } from "../serving/desired-adapters.ts";
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
  return {
    async shortage(agent, more) {
      for (const server of serversOf(agent)) {
        const slots = await slotsOf(server);
        if (slots === null) continue;
        const sharing = Object.keys(agents).filter((slug) => serversOf(slug).some(({ url }) => url === server.url));
        const sets = await Promise.all(sharing.map((slug) => desired.read(slug)));
        const names = new Set(sets.flatMap((set) => set?.adapters.map(({ name }) => name) ?? []));
        const wanted = names.size + more;
        if (wanted > slots) return { url: server.url, slots, wanted, agents: sharing.length };
      }
      return null;
    },
  };
}

/**
 * There must be room for the adapter that a night makes before its rollouts need it.
 * @throws NightshiftError `adapter_slots_exceeded`
 */
export async function requireSlot(slots: AdapterSlots, agent: string): Promise<void> {
  const shortage = await slots.shortage(agent, 1);
  if (shortage !== null) throw nightshiftError("adapter_slots_exceeded", shortage);
}
