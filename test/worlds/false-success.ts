import { createRandom } from "../../deploy/quickstart/random.ts";
import type { Cascade } from "../../src/rollout/cascade/cascade.ts";
import { emptyOverlay } from "../../src/rollout/cascade/overlay.ts";
import { answerBeyond, type OffTape } from "../../src/rollout/off-tape.ts";
import { startOfTrajectory } from "../../src/rollout/start.ts";
import { withoutPaths } from "../../src/trajectory/canonical-arguments.ts";
import { parseResult, showsError, turnHashOf } from "../../src/trajectory/record-tape.ts";
import type { Recorded } from "./conversation.ts";
import type { WorldKind } from "./world.ts";

/** What a tool's simulated answers (R5) were, compared with the world. */
export interface Simulations {
  served: number;
  /** The world says error. */
  errors: number;
  /** The world says error, the simulator success. */
  falseSuccesses: number;
  /** The world says success, the simulator error. */
  falseErrors: number;
  /** The same bytes as the world's, volatile paths apart. */
  equal: number;
}

/**
 * Plays other attempts at recorded tasks against the world and, where no tape answers, against the simulator; the state follows the world, so that each call is
 * judged on its own. Conversations in which others changed the world are left out: what they did is not the simulator's to know.
 */
export async function simulationsOf(
  kind: WorldKind,
  recorded: readonly Recorded[],
  options: { cascadeFor: (one: Recorded) => Cascade; offTape: OffTape; attempts: number },
): Promise<ReadonlyMap<string, Simulations>> {
  const byTool = new Map<string, Simulations>();
  for (const one of recorded.filter(({ foreign }) => foreign.length === 0)) {
    const cascade = options.cascadeFor(one);
    for (let attempt = 0; attempt < options.attempts; attempt += 1)
      await playAttempt(kind, one, { cascade, offTape: options.offTape, attempt }, byTool);
  }
  return byTool;
}

async function playAttempt(
  kind: WorldKind,
  one: Recorded,
  { cascade, offTape, attempt }: { cascade: Cascade; offTape: OffTape; attempt: number },
  byTool: Map<string, Simulations>,
): Promise<void> {
  const start = startOfTrajectory(one.trajectory);
  const world = one.before.clone();
  const run = kind.policy(one.task, createRandom("perturbed", one.trajectory.id, attempt));
  let overlay = emptyOverlay();
  for (let next = run.next([]); next.done !== true;) {
    const calls = next.value.map(({ tool, args }) => cascade.prepare(start, tool, args));
    const turn = turnHashOf(calls.map(({ callKey }) => callKey));
    const truths: string[] = [];
    for (const [index, call] of calls.entries()) {
      const situation = { pool: cascade.pool, start, overlay };
      const seed = [1, attempt];
      const made = cascade.answer(situation, call, { seed, turn });
      const beyond = { cascade, offTape, runId: "measured", seed, sources: () => [] };
      const answer = made.rung === "R5" || made.rung === "R7" ? await answerBeyond(situation, call, made, beyond) : made;
      const truth = world.call(call.tool, next.value[index]?.args);
      const failed = showsError(call.profile, parseResult(truth));
      if (answer !== "unavailable" && answer.rung === "R5" && answer.result !== null) {
        const bare = (text: string): string => JSON.stringify(withoutPaths(parseResult(text), call.profile.volatileResultPaths));
        const counts = byTool.get(call.tool) ?? { served: 0, errors: 0, falseSuccesses: 0, falseErrors: 0, equal: 0 };
        byTool.set(call.tool, {
          served: counts.served + 1,
          errors: counts.errors + (failed ? 1 : 0),
          falseSuccesses: counts.falseSuccesses + (failed && !answer.isError ? 1 : 0),
          falseErrors: counts.falseErrors + (!failed && answer.isError ? 1 : 0),
          equal: counts.equal + (bare(truth) === bare(answer.result) ? 1 : 0),
        });
      }
      overlay = cascade.advance(overlay, call, { result: truth, isError: failed, epochs: null });
      truths.push(truth);
    }
    next = run.next(truths);
  }
}
