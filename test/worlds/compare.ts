import { createRandom } from "../../deploy/quickstart/random.ts";
import { createCascade, type Cascade } from "../../src/rollout/cascade/cascade.ts";
import type { Rung } from "../../src/rollout/group.ts";
import { emptyOverlay } from "../../src/rollout/cascade/overlay.ts";
import { startOfTrajectory } from "../../src/rollout/start.ts";
import { createTapePool } from "../../src/rollout/cascade/tape-pool.ts";
import { withoutPaths } from "../../src/trajectory/canonical-arguments.ts";
import { withEras } from "../../src/trajectory/era.ts";
import { learnProfiles } from "../../src/trajectory/learn-profiles.ts";
import { parseResult, showsError, tapeOf, turnHashOf } from "../../src/trajectory/record-tape.ts";
import type { Tape } from "../../src/trajectory/tape.ts";
import type { ToolProfiles } from "../../src/trajectory/tool-profile.ts";
import type { ForeignEvent, Recorded } from "./record.ts";
import type { World, WorldCall, WorldKind } from "./world.ts";

export interface Tally {
  calls: number;
  byRung: Partial<Record<Rung, { served: number; wrong: number }>>;
  wrong: { conversation: string; rung: Rung; call: WorldCall; served: string | null; truth: string }[];
}

export interface Library {
  profiles: ToolProfiles;
  tapes: readonly Tape[];
}

/** Profiles and tapes of what was recorded. */
export function libraryOf(kind: WorldKind, recorded: readonly Recorded[]): Library {
  const trajectories = recorded.map(({ trajectory }) => trajectory);
  const profiles = learnProfiles(kind.toolConfigs, trajectories);
  return { profiles, tapes: withEras(trajectories.map((trajectory) => tapeOf(trajectory, { profiles, split: "train" }))) };
}

export function cascadeOf({ profiles, tapes }: Library): Cascade {
  return createCascade(
    createTapePool(tapes, { profiles, split: "train" }),
    tapes.map(({ id }) => id),
  );
}

/** One possible world: how many of the foreign events have happened in it. */
interface Possible {
  world: World;
  happened: number;
}

/**
 * Plays other attempts at every recorded task, against the world and against tapes only, and compares each served answer. An answer of R0–R2 is right
 * when the world would give it at some moment of the recorded conversation (others may have written in it), anything else only when it would at the
 * point reached so far. The state then follows the world, so that each call is judged on its own.
 */
export function compare(kind: WorldKind, recorded: readonly Recorded[], cascadeFor: (one: Recorded) => Cascade, attempts: number): Tally {
  const tally: Tally = { calls: 0, byRung: {}, wrong: [] };
  for (const one of recorded) {
    const cascade = cascadeFor(one);
    for (let attempt = 0; attempt < attempts; attempt += 1) playAttempt(kind, one, cascade, attempt, tally);
  }
  return tally;
}

function playAttempt(kind: WorldKind, one: Recorded, cascade: Cascade, attempt: number, tally: Tally): void {
  const start = startOfTrajectory(one.trajectory);
  const run = kind.policy(one.task, createRandom("perturbed", one.trajectory.id, attempt));
  let possible: readonly Possible[] = [{ world: one.before.clone(), happened: 0 }];
  let overlay = emptyOverlay();
  let next = run.next([]);
  while (next.done !== true) {
    const calls = next.value;
    const prepared = calls.map(({ tool, args }) => cascade.prepare(start, tool, args));
    const turn = turnHashOf(prepared.map(({ callKey }) => callKey));
    const truths: string[] = [];
    for (const [index, call] of calls.entries()) {
      const ready = prepared[index] as (typeof prepared)[number];
      const answer = cascade.answer({ pool: cascade.pool, start, overlay }, ready, { seed: [1, attempt], turn });
      const fromOwn = answer.rung === "R0" || answer.rung === "R1" || answer.rung === "R2";
      const outcomes = (fromOwn ? possible.flatMap((world) => futures(world, one.foreign)) : possible).map((state) =>
        outcomeOf(state, call),
      );
      const made = answer.rung === "R4" || answer.rung === "R5";
      const show = (text: string): string =>
        made ? JSON.stringify(withoutPaths(parseResult(text), ready.profile.volatileResultPaths)) : text;
      const failed = (text: string): boolean => showsError(ready.profile, parseResult(text));
      // The text of a mistake's answer may be a generic one; that it failed must be true.
      const agrees = (truth: string): boolean =>
        answer.result !== null && (show(truth) === show(answer.result) || (answer.rung === "agent_error" && failed(truth)));
      const agreeing = outcomes.filter(({ truth }) => agrees(truth));
      const [kept] = agreeing.length > 0 ? agreeing : outcomes;
      const truth = kept?.truth ?? "";
      count(tally, answer.rung, agreeing.length > 0);
      if (agreeing.length === 0 && answer.result !== null) {
        tally.wrong.push({ conversation: one.trajectory.id, rung: answer.rung, call, served: answer.result, truth });
      }
      possible = (agreeing.length > 0 ? agreeing : outcomes.slice(0, 1)).map(({ state }) => state);
      const isError = failed(truth);
      overlay = cascade.advance(overlay, ready, { result: truth, isError, epochs: agreeing.length > 0 ? answer.epochs : null });
      truths.push(truth);
    }
    next = run.next(truths);
  }
}

function outcomeOf({ world, happened }: Possible, call: WorldCall): { truth: string; state: Possible } {
  const after = world.clone();
  const truth = after.call(call.tool, call.args);
  return { truth, state: { world: after, happened } };
}

/** The world now, and after each further foreign event. */
function futures(now: Possible, foreign: readonly ForeignEvent[]): readonly Possible[] {
  const found = [now];
  let world = now.world;
  for (let happened = now.happened; happened < foreign.length; happened += 1) {
    world = world.clone();
    foreign[happened]?.(world);
    found.push({ world, happened: happened + 1 });
  }
  return found;
}

function count(tally: Tally, rung: Rung, right: boolean): void {
  tally.calls += 1;
  const counts = tally.byRung[rung] ?? { served: 0, wrong: 0 };
  counts.served += 1;
  counts.wrong += right ? 0 : 1;
  tally.byRung[rung] = counts;
}

/** The library with only `ids` answering: the others are put behind the wall of the other split. */
export function narrowed({ profiles, tapes }: Library, ids: ReadonlySet<string>): Library {
  return { profiles, tapes: tapes.map((tape) => (ids.has(tape.id) ? tape : { ...tape, split: "held_out" as const })) };
}

/** Share of calls answered at R0–R4 or as the agent's own mistake. */
export function coverageOf(tally: Tally): number {
  const covered = (["R0", "R1", "R2", "R3", "R4", "agent_error"] as const).reduce(
    (sum, rung) => sum + (tally.byRung[rung]?.served ?? 0),
    0,
  );
  return covered / tally.calls;
}

/** Upper end of the one-sided 95 % Clopper–Pearson interval for `wrong` of `served`. */
export function upperBound(wrong: number, served: number): number {
  if (wrong >= served) return 1;
  let [low, high] = [wrong / served, 1];
  for (let step = 0; step < 60; step += 1) {
    const middle = (low + high) / 2;
    if (binomialAtMost(wrong, served, middle) > 0.05) low = middle;
    else high = middle;
  }
  return high;
}

function binomialAtMost(wrong: number, served: number, probability: number): number {
  let term = (1 - probability) ** served;
  let sum = term;
  for (let count = 1; count <= wrong; count += 1) {
    term *= ((served - count + 1) / count) * (probability / (1 - probability));
    sum += term;
  }
  return sum;
}
