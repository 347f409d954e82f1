import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import {
  candidateWeight,
  EVENTS,
  isEnded,
  isLive,
  queueAction,
  sameTraffic,
  STATES,
  transition,
  TRANSITIONS,
  wantedRoutes,
  type Event,
  type Promotion,
} from "../../src/promotion/promotion.ts";
import type { Routes } from "../../src/serving/routes.ts";

const BASE = { name: "base", digest: "sha256:base" };

function promotion(id: number, change: Partial<Promotion> = {}) {
  return {
    id: `experiment-${id}`,
    agent: "shop",
    state: "registered" as const,
    step: 0,
    weights: [0.1, 0.5],
    candidate: { name: `adapter-${id}`, digest: `sha256:${id}` },
    stable: BASE,
    createdAtMs: id,
    stateSinceMs: 0,
    model: "shop",
    salt: `salt-${id}`,
    generation: 1,
    ...change,
  };
}
type Subject = ReturnType<typeof promotion>;

describe("the table", () => {
  test("every live state can be rolled back, by attestation where one was given, and always by an operator", () => {
    for (const state of STATES.filter(isLive)) {
      expect(TRANSITIONS[state].operator_rolled_back).toBe("rolled_back");
      if (state !== "attesting") expect(TRANSITIONS[state].attestation_lost).toBe("rolled_back");
    }
  });

  test("nothing leaves an ended state, but for undoing a promotion", () => {
    const ways = STATES.filter(isEnded).flatMap((state) =>
      EVENTS.filter((event) => TRANSITIONS[state][event] !== null).map((event) => [state, event]),
    );
    expect(ways).toEqual([["promoted", "operator_rolled_back"]]);
  });

  test("only a canary has weight, and no unattested state leads to promoted", () => {
    for (const state of STATES) expect(candidateWeight(promotion(1, { state })) > 0).toBe(state === "canary");
    const before = STATES.filter((state) => Object.values(TRANSITIONS[state]).includes("promoted"));
    expect(before).toEqual(["canary", "held"]);
  });

  test("the ramp ends at its last stage", () => {
    const canary = promotion(1, { state: "canary" });
    const second = transition(canary, "ramped", 5);
    expect(second).toMatchObject({ state: "canary", step: 1 });
    expect(second === null ? undefined : transition(second, "ramped", 6)).toBeNull();
  });
});

type World = { promotions: Subject[]; routes: Routes };
type Command = { kind: "submit"; passes: boolean } | { kind: "event"; pick: number; event: Event };

const command = fc.oneof(
  fc.record({ kind: fc.constant("submit" as const), passes: fc.boolean() }),
  fc.record({
    kind: fc.constant("event" as const),
    pick: fc.nat(),
    event: fc.constantFrom(...EVENTS.filter((event) => !event.startsWith("gate"))),
  }),
);

property.prop([fc.array(command, { maxLength: 60 })])("invariants after every step of any history", (commands) => {
  const world: World = {
    promotions: [],
    routes: { agent: "shop", model: "shop", version: 1, generation: 0, stable: BASE, candidate: null, experimentId: null, salt: null },
  };
  for (const step of commands) {
    const before = structuredClone(world);
    play(world, step);
    for (let action = queueAction(world.promotions); action !== null; action = queueAction(world.promotions))
      move(world, action.id, action.event);
    route(world);
    check(before, world);
  }
});

function play(world: World, step: Command): void {
  if (step.kind === "submit") {
    const fresh = promotion(world.promotions.length + 1);
    world.promotions.push(fresh);
    move(world, fresh.id, step.passes ? "gate_passed" : "gate_refused");
    return;
  }
  const target = world.promotions[step.pick % Math.max(1, world.promotions.length)];
  // What the store checks: the slot is taken by one at a time, and a promotion is undone only while nothing else is live.
  if (target === undefined || step.event === "slot_free") return;
  if (target.state === "promoted" && world.promotions.some(({ state }) => isLive(state))) return;
  move(world, target.id, step.event);
}

function move(world: World, id: string, event: Event): void {
  world.promotions = world.promotions.map((subject) => {
    if (subject.id !== id) return subject;
    const moved = transition(subject, event, 1);
    if (moved === null) return subject;
    return { ...moved, generation: moved.generation + 1, stable: event === "slot_free" ? world.routes.stable : moved.stable };
  });
}

/** What the controller does with the routes: the ended ones that are still named first, then the live one. */
function route(world: World): void {
  const newestFirst = world.promotions.toReversed();
  const named = newestFirst.find(({ id }) => id === world.routes.experimentId);
  const served = newestFirst.find(({ candidate }) => candidate.digest === world.routes.stable.digest);
  for (const subject of [named, served, newestFirst.find(({ state }) => isLive(state))]) {
    const wanted = subject === undefined ? null : wantedRoutes(subject, world.routes);
    if (wanted !== null && !sameTraffic(wanted, world.routes)) world.routes = wanted;
  }
}

function check(before: World, { promotions, routes }: World): void {
  const live = promotions.filter(({ state }) => isLive(state));
  expect(live.length).toBeLessThanOrEqual(1);
  expect(promotions.filter(({ state }) => state === "queued").length).toBeLessThanOrEqual(1);
  // Never two adapters at 100 %: the candidate's share is below 1, and what serves the rest is stable or a promoted adapter.
  expect(routes.candidate?.weight ?? 0).toBeLessThan(1);
  expect(routes.candidate === null).toBe(live.length === 0);
  const weighted = live.filter((subject) => candidateWeight(subject) > 0);
  expect(routes.candidate?.weight ?? 0).toBe(weighted[0] === undefined ? 0 : candidateWeight(weighted[0]));
  const everRefused = promotions.filter(({ state }) => state === "refused").map(({ candidate }) => candidate.digest);
  expect(everRefused).not.toContain(routes.stable.digest);
  expect(everRefused).not.toContain(routes.candidate?.digest);
  // Stable changes only to a promoted adapter, or back when that one is undone.
  if (routes.stable.digest !== before.routes.stable.digest) {
    const changed = promotions.filter((subject, index) => subject.state !== before.promotions[index]?.state);
    expect(changed.some(({ state }) => state === "promoted" || state === "rolled_back")).toBe(true);
  }
  expect(routes.version).toBeGreaterThanOrEqual(before.routes.version);
}
