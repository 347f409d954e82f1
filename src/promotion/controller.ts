import type { Logger } from "../log.ts";
import type { Routes, RouteTarget } from "../serving/routes.ts";
import type { Database } from "../store/database.ts";
import { awaitsOperator, noteAwaited } from "./awaits-operator.ts";
import { createCanaryMeters, type CanaryMeters } from "./canary-meters.ts";
import { look, rampStep, type CanaryParameters } from "./canary.ts";
import { applyEvidence, exclusionOf, newFold, type Evidence, type Fold } from "./evidence.ts";
import { createExperimentStore, type Experiment, type ExperimentStore } from "./experiment-store.ts";
import { isEnded, isLive, queueAction, sameTraffic, wantedRoutes, type Event, type State } from "./promotion.ts";
import type { TrafficRouter } from "./traffic-router.ts";
import type { UnitSource } from "./units.ts";

/** Whether every replica that serves an agent has proved this adapter active, in its present process. */
export interface Attestations {
  /**
   * One entry per live replica; empty when none is known, which proves nothing and loses nothing. `isNew`: it joined and has said nothing of the adapter yet, so a
   * canary does not begin without it, but one that runs loses nothing either.
   */
  replicas(agent: string, adapter: RouteTarget): Promise<readonly { replica: string; attested: boolean; isNew?: true }[]>;
}

export type ReconcileResult =
  /** Nothing is live or waiting. */
  | { status: "idle" }
  /** `fold` holds the numbers: `fold.lastDecision` is the latest look's, null before the first. */
  | { status: "live"; experimentId: string; state: State; step: number; parameters: CanaryParameters; fold: Fold }
  /** Another writer was faster; the next call sees what it wrote. */
  | { status: "conflict" };

export interface PromotionController {
  /**
   * Brings one agent's experiment, log and routes forward as far as the evidence goes. Level-triggered: call it on a timer and after every event; calling it
   * twice, or from two processes, or after a crash at any point of the last call, ends in the same decision. Rejects when the store, the router, the
   * attestations or the units cannot be read: nothing moves then, and the gateways' lease bounds what a bad candidate can do.
   */
  reconcile(agent: string): Promise<ReconcileResult>;
}

interface Deps {
  database: Database;
  router: TrafficRouter;
  attestations: Attestations;
  units: UnitSource;
  log: Logger;
  now: () => number;
}

/** `awaited`: experiments whose waiting for an operator is known to be written down. */
type Metered = Deps & { meters: CanaryMeters; awaited: Set<string> };

/** Older trajectories than this before the last processed unit are no longer looked for. */
const LATE_WINDOW_MS = 3_600_000;
/** Registered to promoted takes far fewer steps in one call. */
const MAX_STEPS = 50;

export function createPromotionController(deps: Deps): PromotionController {
  const store = createExperimentStore(deps);
  // Folds of live logs; dropped on any doubt and read again from the store.
  const folds = new Map<string, { length: number; fold: Fold }>();
  const meters = createCanaryMeters();
  const awaited = new Set<string>();
  return {
    async reconcile(agent) {
      try {
        for (let step = 0; step < MAX_STEPS; step++) {
          const result = await advance(agent, { ...deps, meters, awaited }, store, folds);
          if (result === "conflict") {
            folds.clear();
            return { status: "conflict" };
          }
          if (result === "moved") continue;
          meters.seen(agent, result.status === "live" ? { state: result.fold.canary, parameters: result.parameters } : null);
          return result;
        }
        return { status: "conflict" };
      } catch (error) {
        folds.clear();
        throw error;
      }
    },
  };
}

type Folds = Map<string, { length: number; fold: Fold }>;

/** One step: at most one move of one experiment. */
async function advance(
  agent: string,
  deps: Metered,
  store: ExperimentStore,
  folds: Folds,
): Promise<ReconcileResult | "moved" | "conflict"> {
  const routes = await deps.router.routes(agent);
  const experiments = await store.list(agent);
  const settled = await settleEnded(experiments, routes, deps);
  if (settled !== "settled") return settled;
  const queued = queueAction(experiments);
  if (queued !== null) {
    const experiment = experiments.find(({ id }) => id === queued.id);
    if (experiment === undefined) return "conflict";
    // The arms of a canary are the candidate and whatever is stable when it starts, which a promotion may have changed since the gate.
    const stable = queued.event === "slot_free" && routes !== null ? { stable: routes.stable } : {};
    return moveAndLog(store, deps, experiment, queued.event, { actor: "controller", ...stable });
  }
  const live = experiments.find(({ state }) => isLive(state));
  if (live === undefined) return { status: "idle" };
  return advanceLive(live, routes, deps, store, folds);
}

async function advanceLive(
  experiment: Experiment,
  routes: Routes | null,
  deps: Metered,
  store: ExperimentStore,
  folds: Folds,
): Promise<ReconcileResult | "moved" | "conflict"> {
  const known = await readLog(experiment, store, folds);
  const observed = known.fold.conclusion === null ? await observeWorld(experiment, known.fold, deps) : { rows: [], fold: known.fold };
  if (observed.rows.length > 0) {
    if ((await store.append(experiment.id, known.length, observed.rows)) === "conflict") return "conflict";
    folds.set(experiment.id, { length: known.length + observed.rows.length, fold: observed.fold });
  }
  const event = eventOf(experiment, observed.fold, deps.now());
  if (event !== null) {
    const { conclusion } = observed.fold;
    const result = await moveAndLog(store, deps, experiment, event, { actor: conclusion?.by ?? "controller", conclusion });
    if (result === "moved") return "moved";
    return "conflict";
  }
  const wanted = wantedRoutes(experiment, routes);
  if (wanted !== null && !(await setIfChanged(wanted, routes, deps))) return "conflict";
  const { id: experimentId, state, step, parameters } = experiment;
  if (awaitsOperator(observed.fold, parameters) && !deps.awaited.has(experimentId)) {
    await noteAwaited(experimentId, deps);
    deps.awaited.add(experimentId);
  }
  return { status: "live", experimentId, state, step, parameters, fold: observed.fold };
}

/** Ended experiments that the routes still name, or whose promotion was undone: their traffic first, before anything new starts. */
async function settleEnded(
  experiments: readonly Experiment[],
  routes: Routes | null,
  deps: Metered,
): Promise<"settled" | "moved" | "conflict"> {
  // Newest first: of several experiments with one digest, only the last speaks for it.
  const named = experiments.find(({ id }) => id === routes?.experimentId);
  const served = experiments.find(({ candidate }) => candidate.digest === routes?.stable.digest);
  for (const experiment of [named, served]) {
    if (experiment === undefined || !isEnded(experiment.state)) continue;
    const wanted = wantedRoutes(experiment, routes);
    if (wanted === null || (routes !== null && sameTraffic(wanted, routes))) continue;
    return (await setIfChanged(wanted, routes, deps)) ? "moved" : "conflict";
  }
  return "settled";
}

async function setIfChanged(wanted: Routes, routes: Routes | null, deps: Metered): Promise<boolean> {
  if (routes !== null && sameTraffic(wanted, routes)) return true;
  const result = await deps.router.setRoutes(wanted);
  const fields = { promotion_id: wanted.experimentId, agent: wanted.agent, weight: wanted.candidate?.weight ?? 0 };
  if (result.status === "fenced") deps.log.warn({ ...fields, generation: result.generation }, "routes were fenced by a newer writer");
  else deps.log.info({ ...fields, stable: wanted.stable.name }, "routes set");
  return result.status === "set";
}

async function readLog(experiment: Experiment, store: ExperimentStore, folds: Folds): Promise<{ length: number; fold: Fold }> {
  const known = folds.get(experiment.id) ?? { length: 0, fold: newFold() };
  const rows = await store.evidence(experiment.id, known.length);
  const fold = rows.reduce((sofar, row) => applyEvidence(sofar, row, experiment.parameters), known.fold);
  const current = { length: known.length + rows.length, fold };
  folds.set(experiment.id, current);
  return current;
}

/** What happened since the log was last written, as rows to append, and the fold with them. */
async function observeWorld(experiment: Experiment, fold: Fold, deps: Metered): Promise<{ rows: Evidence[]; fold: Fold }> {
  const rows: Evidence[] = [];
  let current = fold;
  const add = (row: Evidence) => {
    rows.push(row);
    current = applyEvidence(current, row, experiment.parameters);
  };
  const replicas = await deps.attestations.replicas(experiment.agent, experiment.candidate);
  const unproven = replicas.filter(({ attested }) => !attested);
  if (fold.startedAtMs === null) {
    if (replicas.length > 0 && unproven.length === 0) add({ kind: "boundary", atMs: deps.now(), cause: "start", step: 0 });
    return { rows, fold: current };
  }
  const lost = unproven.filter(({ isNew }) => isNew !== true).map(({ replica }) => replica);
  if (lost.length > 0) {
    add({ kind: "attestation_lost", atMs: deps.now(), replicas: lost });
    return { rows, fold: current };
  }
  await addUnits(experiment, deps, () => current, add);
  if (current.conclusion === null) addTime(experiment, deps.now(), current, add);
  return { rows, fold: current };
}

/** Units in assignment order, as far as they are settled and their outcomes are final. */
async function addUnits(experiment: Experiment, deps: Metered, fold: () => Fold, add: (row: Evidence) => void): Promise<void> {
  const nowMs = deps.now();
  const { id, tenant, agent, candidate, horizonMs, createdAtMs } = experiment;
  const sinceMs = Math.max(createdAtMs, (fold().last?.assignedAtMs ?? 0) - LATE_WINDOW_MS);
  const query = { experimentId: id, tenant, agent, candidateDigest: candidate.digest, horizonMs, sinceMs, nowMs, known: fold().keys };
  const { units, settledBeforeMs } = await deps.units.load(query);
  for (const unit of units) {
    if (fold().keys.has(unit.key)) continue;
    if (unit.assignedAtMs >= settledBeforeMs) return;
    const reason = exclusionOf(fold(), unit);
    const isFinal = unit.outcome !== null || nowMs >= unit.endedAtMs + horizonMs;
    if (reason === null && !isFinal) return;
    add(reason === null ? { kind: "unit", atMs: nowMs, unit } : { kind: "excluded", atMs: nowMs, unit, reason });
    if (fold().conclusion !== null) return;
  }
}

/** The next stage of the ramp when its units are in; a look when time alone decides (dwell over, deadline reached). */
function addTime(experiment: Experiment, nowMs: number, fold: Fold, add: (row: Evidence) => void): void {
  const { parameters } = experiment;
  const isRunning = experiment.state === "canary" && !fold.paused;
  if (isRunning && rampStep(fold.canary.units, parameters.ramp) > fold.step) {
    add({ kind: "boundary", atMs: nowMs, cause: "ramp", step: fold.step + 1 });
    return;
  }
  const decision = look(fold.canary, parameters, { startedAtMs: fold.startedAtMs ?? nowMs, nowMs });
  const hasWaited = decision.action === "expire" || (decision.action === "promote" && fold.lastDecision?.reason === "dwell");
  if (hasWaited) add({ kind: "look", atMs: nowMs });
}

/** What the log says should happen to the experiment's state. */
function eventOf(experiment: Experiment, fold: Fold, nowMs: number): Event | null {
  const { conclusion } = fold;
  // First catch up with the log: a crash may have come between a row and its move, and the table demands every step.
  if (experiment.state === "attesting" && fold.startedAtMs !== null) return "attested";
  if (experiment.state === "held" && !fold.paused) return "resumed";
  if (conclusion !== null) {
    const isOperator = conclusion.reason === "operator";
    if (conclusion.action === "promote") return isOperator ? "operator_promoted" : "proven";
    if (conclusion.action === "expire") return "timed_out";
    if (conclusion.action === "supersede") return "operator_superseded";
    if (isOperator) return "operator_rolled_back";
    return conclusion.reason === "attestation_lost" ? "attestation_lost" : "harmed";
  }
  if (experiment.state === "attesting") return nowMs - experiment.stateSinceMs >= experiment.parameters.deadlineMs ? "timed_out" : null;
  if (fold.paused) return experiment.state === "canary" ? "paused" : null;
  return fold.step > experiment.step ? "ramped" : null;
}

async function moveAndLog(
  store: ExperimentStore,
  deps: Metered,
  experiment: Experiment,
  event: Event,
  change: Parameters<ExperimentStore["move"]>[2],
): Promise<"moved" | "conflict"> {
  const result = await store.move(experiment, event, change);
  if (result.status !== "moved") return "conflict";
  const { state, step } = result.experiment;
  deps.meters.moved(experiment.agent, event, state);
  deps.log.info(
    { promotion_id: experiment.id, agent: experiment.agent, event, from: experiment.state, to: state, step },
    "experiment moved",
  );
  return "moved";
}
