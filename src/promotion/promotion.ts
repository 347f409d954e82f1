import type { RouteTarget, Routes } from "../serving/routes.ts";

/** The life of one candidate. `attesting` to `held` are live: their adapter is loaded and named by the routes. */
export const STATES = [
  "registered",
  "gated",
  "queued",
  "attesting",
  "shadow",
  "canary",
  "held",
  "promoted",
  "rolled_back",
  "expired",
  "superseded",
  "refused",
] as const;
export type State = (typeof STATES)[number];

export const EVENTS = [
  "gate_passed",
  "gate_refused",
  "enqueued",
  /** A newer candidate took the one place in the queue. */
  "displaced",
  /** No other experiment of the agent is live. */
  "slot_free",
  "shadow_started",
  "attested",
  "attestation_lost",
  "ramped",
  "paused",
  "resumed",
  "proven",
  /** K⁻, a guardrail or a sample-ratio mismatch. */
  "harmed",
  "timed_out",
  "operator_promoted",
  "operator_rolled_back",
  "operator_superseded",
  /** The base model or its chat template changed. */
  "rebased",
] as const;
export type Event = (typeof EVENTS)[number];

const NOWHERE: Record<Event, null> = {
  gate_passed: null,
  gate_refused: null,
  enqueued: null,
  displaced: null,
  slot_free: null,
  shadow_started: null,
  attested: null,
  attestation_lost: null,
  ramped: null,
  paused: null,
  resumed: null,
  proven: null,
  harmed: null,
  timed_out: null,
  operator_promoted: null,
  operator_rolled_back: null,
  operator_superseded: null,
  rebased: null,
};

/** Every cell: where the event leads, or null where it changes nothing. The compiler demands a row per state, NOWHERE a cell per event. */
export const TRANSITIONS: Record<State, Record<Event, State | null>> = {
  registered: {
    ...NOWHERE,
    gate_passed: "gated",
    gate_refused: "refused",
    displaced: "superseded",
    operator_superseded: "superseded",
    rebased: "superseded",
  },
  gated: { ...NOWHERE, enqueued: "queued", displaced: "superseded", operator_superseded: "superseded", rebased: "superseded" },
  queued: { ...NOWHERE, slot_free: "attesting", displaced: "superseded", operator_superseded: "superseded", rebased: "superseded" },
  attesting: {
    ...NOWHERE,
    shadow_started: "shadow",
    attested: "canary",
    timed_out: "expired",
    operator_rolled_back: "rolled_back",
    operator_superseded: "superseded",
    rebased: "superseded",
  },
  shadow: {
    ...NOWHERE,
    attested: "canary",
    attestation_lost: "rolled_back",
    harmed: "rolled_back",
    timed_out: "expired",
    operator_rolled_back: "rolled_back",
    operator_superseded: "superseded",
    rebased: "superseded",
  },
  canary: {
    ...NOWHERE,
    attestation_lost: "rolled_back",
    ramped: "canary",
    paused: "held",
    proven: "promoted",
    harmed: "rolled_back",
    timed_out: "expired",
    operator_promoted: "promoted",
    operator_rolled_back: "rolled_back",
    operator_superseded: "superseded",
    rebased: "superseded",
  },
  held: {
    ...NOWHERE,
    attestation_lost: "rolled_back",
    resumed: "canary",
    harmed: "rolled_back",
    timed_out: "expired",
    operator_promoted: "promoted",
    operator_rolled_back: "rolled_back",
    operator_superseded: "superseded",
    rebased: "superseded",
  },
  // Undoing a promotion brings the stable adapter of before back; it was kept resident for this.
  promoted: { ...NOWHERE, operator_rolled_back: "rolled_back" },
  rolled_back: NOWHERE,
  expired: NOWHERE,
  superseded: NOWHERE,
  refused: NOWHERE,
};

/** What the machine moves. `weights` is the ramp; `step` its stage. */
export interface Promotion {
  id: string;
  agent: string;
  state: State;
  step: number;
  weights: readonly number[];
  candidate: RouteTarget;
  stable: RouteTarget;
  createdAtMs: number;
  stateSinceMs: number;
}

export function isLive(state: State): boolean {
  return state === "attesting" || state === "shadow" || state === "canary" || state === "held";
}

export function isEnded(state: State): boolean {
  return !isLive(state) && state !== "registered" && state !== "gated" && state !== "queued";
}

/** Applies an event. Null where the event changes nothing in this state. Pure. */
export function transition<P extends Promotion>(promotion: P, event: Event, nowMs: number): P | null {
  const to = TRANSITIONS[promotion.state][event];
  if (to === null) return null;
  if (event === "ramped") {
    const step = promotion.step + 1;
    return step < promotion.weights.length ? { ...promotion, step } : null;
  }
  return { ...promotion, state: to, stateSinceMs: nowMs };
}

/** Share of new assignment keys that the candidate gets. Only a running canary has any. */
export function candidateWeight(promotion: Pick<Promotion, "state" | "weights" | "step">): number {
  return promotion.state === "canary" ? (promotion.weights[promotion.step] ?? 0) : 0;
}

/**
 * What the queue of one asks for next among an agent's promotions: the newest gated or queued one keeps its place, older ones are displaced, and the head
 * starts when nothing is live. Apply the first, ask again.
 */
export function queueAction(promotions: readonly Promotion[]): { id: string; event: Event } | null {
  const waiting = promotions.filter(({ state }) => state === "gated" || state === "queued").toSorted(byAge);
  const newest = waiting.at(-1);
  if (newest === undefined) return null;
  const older = waiting.find(({ id }) => id !== newest.id);
  if (older !== undefined) return { id: older.id, event: "displaced" };
  if (newest.state === "gated") return { id: newest.id, event: "enqueued" };
  return promotions.some(({ state }) => isLive(state)) ? null : { id: newest.id, event: "slot_free" };
}

function byAge(a: Promotion, b: Promotion): number {
  return a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1);
}

/**
 * The routes that a promotion wants, given those in force; null when it has no say: it never started, or it ended and its routes are settled.
 * `version` is the router's to raise.
 */
export function wantedRoutes(
  promotion: Promotion & { model: string; salt: string; generation: number },
  current: Routes | null,
): Routes | null {
  const { agent, model, candidate, stable, generation, salt, id } = promotion;
  const version = (current?.version ?? 0) + 1;
  const settled = { agent, model, version, generation, candidate: null, experimentId: null, salt: null };
  if (isLive(promotion.state)) {
    const weight = candidateWeight(promotion);
    return { agent, model, version, generation, stable, candidate: { ...candidate, weight }, experimentId: id, salt };
  }
  if (current === null) return null;
  const isNamed = current.experimentId === id;
  const isUndone = promotion.state === "rolled_back" && current.experimentId === null && current.stable.digest === candidate.digest;
  if (promotion.state === "promoted") return isNamed ? { ...settled, stable: candidate } : null;
  return isNamed || isUndone ? { ...settled, stable } : null;
}

/** What a router has once `wanted` is set: always a higher version, whatever version the writer thought of. Null where a newer generation rules. */
export function acceptedRoutes(current: Routes | null, wanted: Routes): Routes | null {
  if (current === null) return wanted;
  return current.generation > wanted.generation ? null : { ...wanted, version: Math.max(wanted.version, current.version + 1) };
}

/** Everybody on stable, and no experiment; null where it is so already. */
export function resetRoutes(current: Routes | null): Routes | null {
  if (current === null || current.candidate === null) return null;
  return { ...current, version: current.version + 1, candidate: null, experimentId: null, salt: null };
}

/** Routes that a candidate gets nothing by any more; null where there is nothing to take from this experiment's. Still its routes: how it ended is for its log to say. */
export function withheldRoutes(
  current: Routes | null,
  { experimentId, generation }: { experimentId: string; generation: number },
): Routes | null {
  if (current?.experimentId !== experimentId || current.candidate === null || current.generation > generation) return null;
  return { ...current, version: current.version + 1, generation, candidate: { ...current.candidate, weight: 0 } };
}

/** The same traffic, whatever the counters say. */
export function sameTraffic(a: Routes, b: Routes): boolean {
  const essence = ({ model, stable, candidate, experimentId, salt }: Routes) =>
    JSON.stringify([
      model,
      stable.name,
      stable.digest,
      candidate === null ? null : [candidate.name, candidate.digest, candidate.weight],
      experimentId,
      salt,
    ]);
  return essence(a) === essence(b);
}
