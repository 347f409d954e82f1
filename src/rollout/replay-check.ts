import { turnHashOf, turnsOf } from "../trajectory/record-tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import type { Cascade } from "./cascade/cascade.ts";
import type { Rung } from "./group.ts";
import { emptyOverlay } from "./cascade/overlay.ts";
import { startOfTrajectory } from "./start.ts";

export interface ReplayCheck {
  calls: number;
  /** Answers that were served byte for byte as recorded. */
  equal: number;
  /** Every compared answer in order, and the rung that it came from. */
  answers: readonly { turn: number; index: number; tool: string; rung: Rung; isEqual: boolean }[];
  mismatches: readonly { turn: number; index: number; tool: string; rung: Rung; recorded: string; served: string | null }[];
  /** Tape entries that no call was served from. */
  unused: number;
  callsByRung: Readonly<Partial<Record<Rung, number>>>;
}

/**
 * Plays the recorded assistant turns of a conversation through the cascade and compares every served answer with the recording, byte for byte. The
 * cascade's pool must hold the conversation's own tape. Anything but all equal and none unused is a defect of replay, or of the recording.
 */
export function selfReplay(trajectory: Trajectory, cascade: Cascade): ReplayCheck {
  const start = startOfTrajectory(trajectory);
  const answers: ReplayCheck["answers"][number][] = [];
  const mismatches: ReplayCheck["mismatches"][number][] = [];
  const callsByRung: Partial<Record<Rung, number>> = {};
  const used = new Set<number>();
  let overlay = emptyOverlay();
  let calls = 0;
  for (const { index: turn, calls: recordedCalls } of turnsOf(trajectory.messages)) {
    const prepared = recordedCalls.map(({ part }) => cascade.prepare(start, part.name, part.arguments));
    const block = turnHashOf(prepared.map(({ callKey }) => callKey));
    for (const [index, call] of prepared.entries()) {
      const recorded = recordedCalls[index]?.result ?? null;
      // A call without a recorded answer has nothing to be compared with.
      if (recorded === null) continue;
      calls += 1;
      const answer = cascade.answer({ pool: cascade.pool, start, overlay }, call, { seed: [0, 0], turn: block });
      overlay = cascade.advance(overlay, call, answer);
      callsByRung[answer.rung] = (callsByRung[answer.rung] ?? 0) + 1;
      if (answer.servedFrom?.tape === start.tapeId) used.add(answer.servedFrom.entry);
      const isEqual = answer.result === recorded;
      answers.push({ turn, index, tool: call.tool, rung: answer.rung, isEqual });
      if (!isEqual) mismatches.push({ turn, index, tool: call.tool, rung: answer.rung, recorded, served: answer.result });
    }
  }
  return {
    calls,
    equal: calls - mismatches.length,
    answers,
    mismatches,
    unused: cascade.pool.ofTape(start.tapeId).length - used.size,
    callsByRung,
  };
}
