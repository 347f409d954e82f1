import type { Digest } from "../artifact/artifact-store.ts";
import type { AgentConfig } from "../config.ts";
import type { Logger } from "../log.ts";
import { createCanaryMeters } from "../promotion/canary-meters.ts";
import { createPromotionController, type PromotionController } from "../promotion/controller.ts";
import { createExperimentStore } from "../promotion/experiment-store.ts";
import { isEnded, isLive, type State } from "../promotion/promotion.ts";
import type { TrafficRouter } from "../promotion/traffic-router.ts";
import { createUnitSource, type UnitSource } from "../promotion/units.ts";
import type { DesiredAdapter } from "../serving/adapter-bring-up.ts";
import { createDesiredAdapterStore } from "../serving/desired-adapters.ts";
import type { Database } from "../store/database.ts";
import { findAdapter, type RegisteredAdapter } from "../training/adapters.ts";
import type { Fleet } from "../training/night-context.ts";
import { requireSlot, type AdapterSlots } from "./adapter-slots.ts";
import type { AgentFleet } from "./fleet.ts";
import { startLoop, type Loop } from "./loop.ts";
import { createNightShift, type NightShiftDeps } from "./night-shift.ts";

export interface AgentRuntimeOptions {
  agent: string;
  config: AgentConfig;
  baseDigest: Digest;
  runsDirectory: string;
  /** How long a finished call's span may be on its way to the store. */
  settleMs: number;
}

export interface AgentRuntimeDeps extends Omit<NightShiftDeps, "fleet"> {
  fleet: AgentFleet;
  slots: AdapterSlots;
  router: TrafficRouter;
  /** Called after every turn in which the promotion was looked at: the gateways' lease lives on it. */
  confirm: () => void;
}

/** Everything that runs for one agent where its leader is: its nights, its promotion, and which adapters its replicas must hold. */
export interface AgentRuntime {
  /** There is something to do now: a run was started, an operator acted. */
  wake(): void;
  /** Whether its night is at work on this run now. */
  isBusyWith(runId: string): boolean;
  close(): Promise<void>;
}

const NO_UNITS: UnitSource = { load: ({ nowMs }) => Promise.resolve({ units: [], settledBeforeMs: nowMs }) };
const PROMOTION_EVERY_MS = 250;
const NIGHT_EVERY_MS = 1_000;

export function startAgentRuntime(options: AgentRuntimeOptions, deps: AgentRuntimeDeps): AgentRuntime {
  const { agent, config, baseDigest } = options;
  const log = deps.log.child({ agent });
  const experiments = createExperimentStore(deps);
  const published = createDesiredAdapterStore(deps.database);
  let tonight: DesiredAdapter | null = null;

  const refreshDesired = async (): Promise<void> => {
    const routes = await deps.router.routes(agent);
    const all = await experiments.list(agent);
    // What waits for another's canary to end is loaded when its turn comes: it would take the place that the next night needs.
    const waits = (state: State): boolean => state === "queued" && all.some((other) => isLive(other.state));
    const open = all.filter(({ state }) => !isEnded(state) && !waits(state));
    // What an operator's rollback of the last promotion returns to: it must not have to be fetched and proven first.
    const inForce = all.find(({ state, candidate }) => state === "promoted" && candidate.digest === routes?.stable.digest);
    const named = [routes?.stable, routes?.candidate, inForce?.stable, tonight, ...open.map(({ candidate }) => candidate)];
    const wanted = new Map(
      named.flatMap((target) => (target == null || target.digest === baseDigest ? [] : [[target.name, target] as const])),
    );
    const adapters = [...wanted.values()].map(({ name, digest }) => ({ name, digest }));
    deps.fleet.want(adapters);
    const stable = routes?.stable;
    await published.save({ agent, adapters, stable: stable === undefined || stable.digest === baseDigest ? null : stable.name });
  };

  const fleet: Fleet = {
    policyServer: deps.fleet.policyServer,
    baseDigest,
    stable: () => stableOf(options, deps),
    requireSlot: () => requireSlot(deps.slots, agent),
    async ensureServed(adapter, signal) {
      tonight = { name: adapter.name, digest: adapter.digest };
      await refreshDesired();
      await deps.fleet.awaitServed(tonight, signal);
    },
    release: () => {
      tonight = null;
    },
  };
  const nightShift = createNightShift(
    { agent, config, runsDirectory: options.runsDirectory },
    { ...deps, log, fleet, canaryDecides: deps.router.draws(agent) === "per_key" },
  );
  const controller = controllerOf(options, deps, log);

  const promotion = startLoop({ name: "promotion", everyMs: PROMOTION_EVERY_MS, log }, async () => {
    await ensureRoutes(options, deps.router);
    const { status } = await controller.reconcile(agent);
    await refreshDesired();
    if (status !== "conflict") deps.confirm();
  });
  const night = startLoop({ name: "night", everyMs: NIGHT_EVERY_MS, log }, (signal) => nightShift.work(signal));
  const loops: Loop[] = [promotion, night];
  return {
    wake: () => loops.forEach((loop) => loop.wake()),
    isBusyWith: (runId) => nightShift.isBusyWith(runId),
    async close() {
      await Promise.all(loops.map((loop) => loop.stop()));
      // The next leader tells of its canary.
      createCanaryMeters().seen(agent, null);
      await deps.fleet.close();
    },
  };
}

function controllerOf({ agent, config, settleMs }: AgentRuntimeOptions, deps: AgentRuntimeDeps, log: Logger): PromotionController {
  return createPromotionController({
    database: deps.database,
    router: deps.router,
    attestations: {
      replicas: (_agent, adapter) => deps.fleet.standings(adapter.digest),
    },
    // A conversation that saw both arms is no unit of either.
    units: deps.router.draws(agent) === "per_key" ? createUnitSource({ feedback: config.outcome.feedback, settleMs }, deps) : NO_UNITS,
    log,
    now: deps.now,
  });
}

/** First night: stable is the base model, under the public name. */
async function ensureRoutes({ agent, config, baseDigest }: AgentRuntimeOptions, router: TrafficRouter): Promise<void> {
  if ((await router.routes(agent)) !== null) return;
  const stable = { name: config.model, digest: baseDigest };
  await router.setRoutes({
    agent,
    model: config.model,
    version: 1,
    generation: 0,
    stable,
    candidate: null,
    experimentId: null,
    salt: null,
  });
}

async function stableOf(
  { config, agent, baseDigest }: AgentRuntimeOptions,
  deps: { router: TrafficRouter; database: Database },
): Promise<{ name: string; digest: string; adapter: RegisteredAdapter | null }> {
  const routes = await deps.router.routes(agent);
  const stable = routes?.stable ?? { name: config.model, digest: baseDigest };
  return { ...stable, adapter: stable.digest === baseDigest ? null : await findAdapter(deps.database, stable.digest) };
}
