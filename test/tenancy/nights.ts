import { createNightShift, type NightShift, type NightShiftDeps } from "../../src/app/night-shift.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { loadRecordings } from "../../src/rollout/load-recordings.ts";
import type { Database } from "../../src/store/database.ts";
import { createRunQueue, type RunQueue } from "../../src/training/run-queue.ts";
import { createRunStore, type RunStore } from "../../src/training/run-store.ts";

const AGENTS = ["north-desk", "south-desk"] as const;
export type Desk = (typeof AGENTS)[number];

/** The nights of two tenants' agents in one control service. Nothing was captured, so that a run that is carried out ends at once; until then it is held where it reads its recordings. */
export interface Nights {
  runs: RunStore;
  queue: RunQueue;
  shifts: Record<Desk, NightShift>;
  /** Resolves when the agent's run reads its recordings. */
  begun(agent: Desk): Promise<void>;
  /** Lets what reads its recordings, now or later, go on. */
  release(agent: Desk): void;
  /** Whom the trainers were stopped for, in order: a run is over. */
  over: string[];
}

export function nightsOf(database: Database, options: { runsAtOnce: number; directory: string }): Nights {
  const tenants = { north: {}, south: {} };
  const of = (tenant: string) => ({ tenant, model: `${tenant} public`, baseModel: "base" });
  const config = parseConfig({ tenants, agents: { "north-desk": of("north"), "south-desk": of("south") } });
  const now = (): number => 5_000;
  const runs = createRunStore(database, now);
  const queue = createRunQueue({ runsAtOnce: options.runsAtOnce, agents: Object.keys(config.agents) }, { database, log: silentLog() });
  const over: string[] = [];
  const begun = new Map(AGENTS.map((agent) => [agent, Promise.withResolvers<void>()]));
  const released = new Map(AGENTS.map((agent) => [agent, Promise.withResolvers<void>()]));
  const shiftOf = (agent: Desk): NightShift => {
    const agentConfig = config.agents[agent];
    if (agentConfig === undefined) throw new Error("the config has it");
    const deps = {
      ...{ database, runs, queue, log: silentLog(), now, monotonicMs: now },
      fleet: { release: () => undefined },
      jobRunner: { cancel: async (runId: string) => void over.push(runId) },
      async recordings({ nowMs }: { nowMs: number }) {
        begun.get(agent)?.resolve();
        await released.get(agent)?.promise;
        return loadRecordings(database, { agent, config: agentConfig, nowMs });
      },
    };
    return createNightShift({ agent, config: agentConfig, runsDirectory: options.directory }, deps as unknown as NightShiftDeps);
  };
  return {
    ...{ runs, queue, over },
    shifts: { "north-desk": shiftOf("north-desk"), "south-desk": shiftOf("south-desk") },
    begun: async (agent) => begun.get(agent)?.promise,
    release: (agent) => released.get(agent)?.resolve(),
  };
}
