import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { createExperimentStore } from "../promotion/experiment-store.ts";
import { isLive } from "../promotion/promotion.ts";
import type { RouteWatch } from "../promotion/route-watch.ts";
import { loadRecordings } from "../rollout/load-recordings.ts";
import type { Database } from "../store/database.ts";
import type { Term } from "../store/election.ts";
import { beatTerm } from "../store/leader-record.ts";
import type { AgentParts } from "./agent-parts.ts";
import type { ClusterMirror } from "./cluster-mirror.ts";
import type { Judges } from "./judges.ts";
import { startAgentRuntime, type AgentRuntime, type AgentRuntimeDeps } from "./agent-runtime.ts";
import type { RunFiles } from "../training/run-files.ts";
import { createAgentFleet } from "./fleet.ts";
import { startLoop, type Loop } from "./loop.ts";
import { startUpkeep } from "./upkeep.ts";

/** What this process does while it leads: the loops of every agent, and the heartbeat that the gateways' leases live on. */
export interface Leader {
  /** Resolves when the term has ended and everything that was started in it has, too. */
  lead(term: Term): Promise<void>;
  /** There is something to do for the agent now; nothing happens where this process does not lead. */
  wake(agent: string): void;
}

export interface LeaderDeps extends Omit<
  AgentRuntimeDeps,
  "fleet" | keyof Judges | "judgeIdentity" | "agentDriver" | "sandbox" | "recordings" | "confirm"
> {
  database: Database;
  watch: RouteWatch;
  runFiles: RunFiles;
  /** Shows a cluster who leads; null outside of one. */
  mirror: ClusterMirror | null;
  log: Logger;
}

/** At most; of a short lease a thirtieth. */
const BEAT_EVERY_MS = 500;
const BEATS_PER_LEASE = 30;
const LONGEST_BEAT_PAUSE_MS = 2_000;
/** How long a finished call's span may be on its way: the gateway's batch delay, the SDK's, and a sweep. */
const SETTLE_MARGIN_MS = 1_000;

/**
 * @param options `gatewayGraceMs`: how long a leader that finds the leases lapsed waits before it reads evidence, so that gateways can tell first when it was. 0 for
 * a process whose only gateway is its own.
 */
export function createLeader(
  options: { config: Config; agents: readonly AgentParts[]; runsDirectory: string; gatewayGraceMs: number },
  deps: LeaderDeps,
): Leader {
  const { config, agents } = options;
  let runtimes = new Map<string, AgentRuntime>();
  let upkeep: Loop | null = null;
  const isBusy = (runId: string): boolean => [...runtimes.values()].some((runtime) => runtime.isBusyWith(runId));

  const start = (parts: AgentParts, confirm: () => void): AgentRuntime => {
    const { agent, config: agentConfig, baseDigest, calibrator, judge, auditJudge, pairJudge, offTape, sandbox, ...drivers } = parts;
    const { runsDirectory } = options;
    const settleMs = config.capture.graceMs + config.capture.sweepMs + SETTLE_MARGIN_MS;
    return startAgentRuntime(
      { agent, config: agentConfig, baseDigest, runsDirectory, settleMs },
      {
        ...deps,
        ...{ judge, auditJudge, pairJudge, offTape, sandbox, confirm },
        ...{ agentDriver: drivers.agentDriver, rewardCheck: drivers.rewardCheck },
        judgeIdentity: calibrator?.identity ?? null,
        fleet: createAgentFleet(parts, deps),
        recordings: (asked) => loadRecordings(deps.database, { agent, config: agentConfig, ...asked }),
      },
    );
  };

  return {
    wake(agent) {
      runtimes.get(agent)?.wake();
      upkeep?.wake();
    },
    async lead(term) {
      const turns = new Map(agents.map(({ agent }) => [agent, 0]));
      const beating = startBeating(config, term, turns, deps);
      const mirroring = deps.mirror?.start(term);
      try {
        if (await mayHaveLapsed(options, deps))
          await sleep(options.gatewayGraceMs, undefined, { signal: term.signal }).catch(() => undefined);
        if (!term.signal.aborted) {
          const started = agents.map(
            (parts) => [parts.agent, start(parts, () => turns.set(parts.agent, (turns.get(parts.agent) ?? 0) + 1))] as const,
          );
          runtimes = new Map(started);
          upkeep = startUpkeep({ config, isBusy }, deps);
          await over(term.signal);
        }
      } finally {
        // What erasures wait for is still looked up while it ends.
        await upkeep?.stop();
        upkeep = null;
        const ending = [...runtimes.values()].map((runtime) => runtime.close());
        runtimes = new Map();
        await Promise.all([beating.stop(), mirroring?.stop(), ...ending]);
      }
    },
  };
}

/** Tells the other replicas that this one lives, and what it has looked at. */
function startBeating({ gateway }: Config, term: Term, turns: ReadonlyMap<string, number>, deps: LeaderDeps): Loop {
  const everyMs = Math.min(BEAT_EVERY_MS, gateway.leaseMs / BEATS_PER_LEASE);
  return startLoop({ name: "leadership", everyMs, longestPauseMs: LONGEST_BEAT_PAUSE_MS, log: deps.log }, async () => {
    const isCurrent = await beatTerm(deps.database.kysely, term.epoch, Object.fromEntries(turns));
    if (!isCurrent) term.resign("another process has begun a term");
  });
}

/** May any gateway have switched a live candidate off since a leader was last heard of. */
async function mayHaveLapsed({ config, agents }: { config: Config; agents: readonly AgentParts[] }, deps: LeaderDeps): Promise<boolean> {
  const experiments = createExperimentStore(deps);
  for (const { agent } of agents) {
    const confirmedAtMs = deps.watch.current(agent)?.confirmedAtMs ?? null;
    const isFresh = confirmedAtMs !== null && deps.monotonicMs() - confirmedAtMs < config.gateway.leaseMs / 2;
    if (!isFresh && (await experiments.list(agent)).some(({ state }) => isLive(state))) return true;
  }
  return false;
}

async function over(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}
