import { createRandom } from "../../deploy/quickstart/random.ts";
import { createCascade, type Cascade } from "../../src/rollout/cascade/cascade.ts";
import { emptyOverlay } from "../../src/rollout/cascade/overlay.ts";
import { startOfTrajectory } from "../../src/rollout/start.ts";
import { createTapePool } from "../../src/rollout/cascade/tape-pool.ts";
import type { PreparedCall } from "../../src/rollout/cascade/prepare.ts";
import { canonicalJson, withoutPaths } from "../../src/trajectory/canonical-arguments.ts";
import { withEras } from "../../src/trajectory/era.ts";
import { learnProfiles } from "../../src/trajectory/learn-profiles.ts";
import { parseResult, showsError, tapeIdOf, tapeOf, turnHashOf } from "../../src/trajectory/record-tape.ts";
import type { Tape } from "../../src/trajectory/tape.ts";
import type { ToolProfiles } from "../../src/trajectory/tool-profile.ts";
import { followTruth, judge, worldsAtStart } from "./oracle.ts";
import { perturbed, type Turns } from "./perturb.ts";
import type { Recorded } from "./conversation.ts";
import { countAnswer, countBound, countWrite, emptyTally, type Tally } from "./tally.ts";
import type { Policy, WorldKind } from "./world.ts";

export interface Library {
  profiles: ToolProfiles;
  tapes: readonly Tape[];
}

/** Profiles and tapes of what was recorded; `configs` other than the world's own say what the operator did not know. */
export function libraryOf(kind: WorldKind, recorded: readonly Recorded[], configs = kind.toolConfigs): Library {
  const trajectories = recorded.map(({ trajectory }) => trajectory);
  const profiles = learnProfiles(configs, trajectories);
  return { profiles, tapes: withEras(trajectories.map((trajectory) => tapeOf(trajectory, { profiles, split: "train" }))) };
}

export function cascadeOf({ profiles, tapes }: Library): Cascade {
  return createCascade(
    createTapePool(tapes, { profiles, split: "train" }),
    tapes.map(({ id }) => id),
  );
}

/** One attempt at a recorded conversation: what the agent does, given what it is answered. */
export interface Attempt {
  one: Recorded;
  seed: number;
  run: ReturnType<Policy>;
}

/** Attempts by the world's own noisy policy, with other luck. */
export function byPolicy(kind: WorldKind, some: readonly Recorded[], each: number): readonly Attempt[] {
  return times(some, each, (one, seed) => kind.policy(one.task, createRandom("perturbed", one.trajectory.id, seed)));
}

/** Attempts made of the recorded ones: turns swapped, dropped, repeated, put in, and arguments in other forms. */
export function byPerturbing(kind: WorldKind, recorded: readonly Recorded[], some: readonly Recorded[], each: number): readonly Attempt[] {
  return times(some, each, (one, seed) => scripted(perturbed(kind, recorded, one, seed)));
}

/** An agent that does the same whatever it is told. */
export function* scripted(turns: Turns): ReturnType<Policy> {
  for (const calls of turns) yield calls;
  return "done";
}

/**
 * Plays attempts against tapes and judges every served answer (oracle.ts says what is wrong). `follow` shows the agent and the overlay what the world
 * answers, so that each call is judged on its own. `free` shows them what replay served and goes on from there, as a rollout does, up to the first miss;
 * the world executes the same calls, and an answer can be wrong because an earlier one was.
 */
export function compare(
  kind: WorldKind,
  attempts: readonly Attempt[],
  cascadeFor: (one: Recorded) => Cascade,
  mode: "follow" | "free" = "follow",
): Tally {
  const tally = emptyTally();
  for (const attempt of attempts) play(kind, attempt, cascadeFor(attempt.one), mode, tally);
  return tally;
}

function play(kind: WorldKind, { one, run, seed }: Attempt, cascade: Cascade, mode: "follow" | "free", tally: Tally): void {
  const start = startOfTrajectory(one.trajectory);
  tally.attempts += 1;
  let possible = worldsAtStart(one);
  let overlay = emptyOverlay();
  let clean = true;
  for (let next = run.next([]); next.done !== true;) {
    const calls = next.value.map(one.spelled);
    const prepared = calls.map(({ tool, args }) => cascade.prepare(start, tool, args));
    const turn = turnHashOf(prepared.map(({ callKey }) => callKey));
    const shown: string[] = [];
    for (const [index, call] of calls.entries()) {
      const ready = prepared[index] as (typeof prepared)[number];
      const answer = cascade.answer({ pool: cascade.pool, start, overlay }, ready, { seed: [1, seed], turn });
      const judgement = judge(kind, one, possible, call, answer);
      const isWrong = !judgement.right && answer.result !== null;
      const found = {
        conversation: one.trajectory.id,
        seed,
        rung: answer.rung,
        confidence: answer.confidence,
        call,
        served: answer.result,
        truth: judgement.truth,
      };
      countAnswer(tally, { ...answer, tool: call.tool }, isWrong ? { ...found, isFirst: clean } : null);
      clean &&= !isWrong;
      countBound(tally, answer.rung, boundOf(cascade, ready, kind.writes.has(call.tool), followTruth(judgement, call, possible).text));
      if ((answer.rung === "R4" || answer.rung === "R5") && kind.writes.has(call.tool)) {
        countWrite(tally, call.tool, { world: judgement.failed, served: answer.isError });
      }
      if (mode === "free") {
        if (answer.result === null) return void (tally.ended += 1);
        overlay = cascade.advance(overlay, ready, answer);
        possible = judgement.possible;
        shown.push(answer.result);
        continue;
      }
      const followed = followTruth(judgement, call, possible);
      possible = followed.possible;
      const isError = showsError(ready.profile, parseResult(followed.text));
      overlay = cascade.advance(overlay, ready, { result: followed.text, isError, epochs: judgement.right ? answer.epochs : null });
      shown.push(followed.text);
    }
    next = run.next(shown);
  }
}

/** Whether an all-knowing replay could serve the world's answer from these tapes: as recorded, or, of a write, made like one that is. */
function boundOf(cascade: Cascade, call: PreparedCall, isWrite: boolean, truth: string): { isHeld: boolean; isRenderable: boolean } {
  const shown = (result: string): string => canonicalJson(withoutPaths(parseResult(result), call.profile.volatileResultPaths));
  const wanted = shown(call.names.toTape(truth));
  const isHeld = cascade.pool.ofCall(call.callKey).some(({ entry }) => shown(entry.result) === wanted);
  return { isHeld, isRenderable: isWrite && cascade.pool.ofTool(call.tool).length > 0 };
}

/** The library with only `ids` answering: the others are put behind the wall of the other split. */
export function narrowed({ profiles, tapes }: Library, ids: ReadonlySet<string>): Library {
  return { profiles, tapes: tapes.map((tape) => (ids.has(tape.id) ? tape : { ...tape, split: "held_out" as const })) };
}

/** The conversation's own tape and the `count - 1` that share most of its task, nearest in time. */
export function nearestTapes(recorded: readonly Recorded[], own: Recorded, count: number): ReadonlySet<string> {
  const ids = new Set(Object.entries(own.task.ids).flatMap(([name, id]) => (name === "email" ? [] : [id])));
  const shared = (one: Recorded): number =>
    Object.values(one.task.ids).filter((id) => ids.has(id)).length + (one.task.kind === own.task.kind ? 0.5 : 0);
  const distance = (one: Recorded): number => Math.abs(one.trajectory.startedAtMs - own.trajectory.startedAtMs);
  const others = recorded.filter((one) => one !== own).sort((a, b) => shared(b) - shared(a) || distance(a) - distance(b));
  return new Set([own, ...others.slice(0, count - 1)].map(({ trajectory }) => tapeIdOf(trajectory)));
}

function times(some: readonly Recorded[], each: number, runOf: (one: Recorded, seed: number) => Attempt["run"]): readonly Attempt[] {
  return some.flatMap((one) => Array.from({ length: each }, (_, seed) => ({ one, seed, run: runOf(one, seed) })));
}
