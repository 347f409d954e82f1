import { acceptedOf, openCluster, type Cluster, type ClusterObject } from "../cluster.ts";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { createExperimentStore } from "../promotion/experiment-store.ts";
import type { TrafficRouter } from "../promotion/traffic-router.ts";
import type { Database } from "../store/database.ts";
import type { Term } from "../store/election.ts";
import { listAlarms } from "../training/alarms.ts";
import type { RunStore } from "../training/run-store.ts";
import { silencesSince } from "../training/silent-trainer.ts";
import {
  eventOf,
  factOfAlarm,
  factOfMove,
  factOfSilence,
  factOfTerm,
  factsOfRun,
  lineOf,
  type ExperimentMove,
  type Fact,
} from "./cluster-facts.ts";
import { startLoop, type Loop } from "./loop.ts";

/** What the leader shows of itself to those who look at the cluster with `kubectl`. Nothing reads it back: who leads and what runs is in the database. */
export interface ClusterMirror {
  /** Writes until it is stopped; a write that fails is tried again and stops nothing else. */
  start(term: Term): Loop;
}

interface MirrorDeps {
  database: Database;
  runs: RunStore;
  router: TrafficRouter;
  log: Logger;
  now: () => number;
}

interface Lease extends ClusterObject {
  spec?: { holderIdentity?: string; acquireTime?: string; renewTime?: string; leaseDurationSeconds?: number; leaseTransitions?: number };
}

const EVERY_MS = 5_000;
const LONGEST_PAUSE_MS = 30_000;
/** As long as the database keeps the lock of a leader that is silent. */
const LEASE_SECONDS = 15;
/** Facts that are older were told by another leader, or nobody could hear of them for so long that they are in `nightshift status`. */
const TOLD_FOR_MS = 600_000;
const RUNS_LOOKED_AT = 20;
const ALARMS_LOOKED_AT = 20;

/** null where the config names no Lease. @throws NightshiftError `cluster_unknown` */
export async function openClusterMirror(config: Config, { name }: { name: string }, deps: MirrorDeps): Promise<ClusterMirror | null> {
  const { lease, namespace } = config.kubernetes;
  if (lease === undefined) return null;
  const cluster = await openCluster();
  return createClusterMirror(
    { lease, namespace: namespace ?? cluster.namespace, name, agents: Object.keys(config.agents) },
    { ...deps, cluster },
  );
}

export function createClusterMirror(
  options: { lease: string; namespace: string; name: string; agents: readonly string[] },
  deps: MirrorDeps & { cluster: Cluster },
): ClusterMirror {
  return {
    start(term) {
      const told = new Set<string>();
      const sinceMs = deps.now();
      return startLoop({ name: "cluster", everyMs: EVERY_MS, longestPauseMs: LONGEST_PAUSE_MS, log: deps.log }, async (stopping) => {
        const signal = AbortSignal.any([stopping, term.signal]);
        const lease = await keepLease(options, { epoch: term.epoch, sinceMs, signal }, deps);
        if (lease === null) return;
        const known = [factOfTerm({ name: options.name, epoch: term.epoch, sinceMs }), ...(await recentFacts(options.agents, deps))];
        const facts = known.filter(({ id }) => !told.has(id));
        for (const fact of facts) {
          const regarding = { name: options.lease, namespace: options.namespace, uid: lease.metadata.uid };
          await tell(
            eventOf(fact, regarding, options.name),
            { what: `event ${fact.reason}`, namespace: options.namespace },
            deps.cluster,
            signal,
          );
          told.add(fact.id);
        }
      });
    },
  };
}

/** Null: a newer term's leader has written it, or another write came between. */
async function keepLease(
  { lease: name, namespace, name: holder, agents }: { lease: string; namespace: string; name: string; agents: readonly string[] },
  { epoch, sinceMs, signal }: { epoch: number; sinceMs: number; signal: AbortSignal },
  deps: MirrorDeps & { cluster: Cluster },
): Promise<Lease | null> {
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  const what = `lease ${namespace}/${name}`;
  const found = await deps.cluster.ask({ what, method: "GET", path: `${path}/${name}` }, { signal });
  const current = found.status === 404 ? null : acceptedOf<Lease>({ what }, found);
  if ((current?.spec?.leaseTransitions ?? 0) > epoch) return null;
  const lines = await Promise.all(agents.map(async (agent) => [`nightshift.dev/agent.${agent}`, await lineFor(agent, deps)] as const));
  const body = {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: {
      ...current?.metadata,
      name,
      namespace,
      annotations: {
        ...(current?.metadata as { annotations?: Record<string, string> } | undefined)?.annotations,
        ...Object.fromEntries(lines),
      },
    },
    spec: {
      holderIdentity: holder,
      leaseDurationSeconds: LEASE_SECONDS,
      acquireTime: microTime(sinceMs),
      renewTime: microTime(deps.now()),
      leaseTransitions: epoch,
    },
  };
  const request =
    current === null ? ({ what, method: "POST", path, body } as const) : ({ what, method: "PUT", path: `${path}/${name}`, body } as const);
  const written = await deps.cluster.ask(request, { signal });
  return written.status === 409 ? null : acceptedOf<Lease>({ what }, written);
}

async function lineFor(agent: string, deps: MirrorDeps): Promise<string> {
  const routes = await deps.router.routes(agent);
  const experiments = await createExperimentStore(deps).list(agent);
  const [run] = await deps.runs.list({ agent, state: "running", limit: 1 });
  return lineOf({ stable: routes?.stable ?? null, experiments, run: run ?? null });
}

async function recentFacts(agents: readonly string[], deps: MirrorDeps): Promise<Fact[]> {
  const fromMs = deps.now() - TOLD_FOR_MS;
  const runs = (await Promise.all(agents.map((agent) => deps.runs.list({ agent, limit: RUNS_LOOKED_AT })))).flat();
  const alarms = (await Promise.all(agents.map((agent) => listAlarms(deps.database, { agent, limit: ALARMS_LOOKED_AT })))).flat();
  const silences = (await silencesSince(fromMs, deps)).filter(({ agent }) => agents.includes(agent));
  const moves = await recentMoves(fromMs, deps);
  const facts = [
    ...runs.flatMap(factsOfRun),
    ...alarms.map(factOfAlarm),
    ...silences.map(factOfSilence),
    ...moves.flatMap((move) => factOfMove(move) ?? []),
  ];
  return facts.filter(({ atMs }) => atMs >= fromMs).toSorted((a, b) => a.atMs - b.atMs);
}

async function recentMoves(fromMs: number, deps: MirrorDeps): Promise<ExperimentMove[]> {
  const rows = await deps.database.kysely
    .selectFrom("audit")
    .select(["id", "at_ms", "action", "subject", "body"])
    .where("at_ms", ">=", fromMs)
    .where("action", "like", "experiment_%")
    .orderBy("id")
    .execute();
  const store = createExperimentStore(deps);
  const moves = await Promise.all(
    rows.map(async ({ id, at_ms: atMs, action, subject, body }) => {
      const experiment = await store.get(subject);
      return experiment === null ? [] : [{ id, atMs, action, experiment, body }];
    }),
  );
  return moves.flat();
}

/** 409: it was told before, by this process or by the leader before it. */
async function tell(
  event: object,
  { what, namespace }: { what: string; namespace: string },
  cluster: Cluster,
  signal: AbortSignal,
): Promise<void> {
  const answer = await cluster.ask({ what, method: "POST", path: `/api/v1/namespaces/${namespace}/events`, body: event }, { signal });
  if (answer.status !== 409) acceptedOf({ what }, answer);
}

/** Kubernetes' MicroTime: six digits of a second. */
function microTime(atMs: number): string {
  return new Date(atMs).toISOString().replace("Z", "000Z");
}
