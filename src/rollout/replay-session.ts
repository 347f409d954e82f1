import { turnHashOf } from "../trajectory/record-tape.ts";
import type { Cascade } from "./cascade/cascade.ts";
import { emptyOverlay, stateOf, type Overlay } from "./cascade/overlay.ts";
import type { PreparedCall } from "./cascade/prepare.ts";
import type { ReplayStart } from "./cascade/situation.ts";
import type { JournalEntry } from "./group.ts";
import { latencyOf } from "./latency.ts";
import { answerBeyond, believed, type OffTape, type OffTapeAnswer } from "./off-tape.ts";
import { sourcesOf } from "./sources.ts";
import type { ToolRequest, ToolSession, TurnAnswers } from "./tool-session.ts";

/** The same call in the same state this often is a loop. */
const LOOP = 3;

export interface ReplaySessionOptions {
  cascade: Cascade;
  start: ReplayStart;
  /** With them, the scenario, the call and the state everything drawn is drawn: siblings agree. */
  runSeed: number;
  iteration: number;
  /** What answers where no tape does, and the run that it is asked for. Unset: nothing does. */
  offTape?: OffTape | undefined;
  runId?: string;
}

/**
 * Answers one rollout's tool calls from tapes; nothing is executed. A loop ends the rollout as the agent's fault, a call without an honest answer as replay's, and a
 * simulator that does not answer as the infrastructure's.
 */
export function createReplaySession(options: ReplaySessionOptions): ToolSession {
  const { cascade, start, runSeed, iteration, offTape, runId = "" } = options;
  const journal: JournalEntry[] = [];
  let overlay = emptyOverlay();
  let elapsedMs = 0;

  const answerOne = async (call: PreparedCall, turn: string, signal?: AbortSignal): Promise<OffTapeAnswer | "unavailable"> => {
    const situation = { pool: cascade.pool, start, overlay };
    const seed = [runSeed, iteration];
    const recorded = believed(cascade.answer(situation, call, { seed, turn }), call, cascade);
    const isRecorded = offTape === undefined || (recorded.rung !== "R5" && recorded.rung !== "R7");
    const sources = (): string[] => sourcesOf(start.scenarioId, [{ journal }]);
    const answer = isRecorded
      ? recorded
      : await answerBeyond(situation, call, recorded, { cascade, offTape, runId, seed, sources }, signal);
    if (answer === "unavailable") return answer;
    const after = cascade.advance(overlay, call, answer);
    const latencyMs = latencyOf(cascade.pool, call, answer, [...seed, start.scenarioId, call.callKey, stateOf(overlay)]);
    journal.push(journalled(journal.length, call, answer, { before: overlay, after, latencyMs }));
    overlay = after;
    elapsedMs += latencyMs;
    return answer;
  };

  return {
    async answer(turn, { signal, block: whole } = {}): Promise<TurnAnswers> {
      const prepare = ({ tool, arguments: raw }: ToolRequest): PreparedCall => cascade.prepare(start, tool, raw);
      const calls = turn.map(prepare);
      const block = turnHashOf((whole?.map(prepare) ?? calls).map(({ callKey }) => callKey));
      const results: { text: string; isError: boolean }[] = [];
      for (const call of calls) {
        if (isLoop(journal, call, overlay)) return { results, end: { status: "truncated", cause: "loop" } };
        const answer = await answerOne(call, block, signal);
        if (answer === "unavailable") return { results, end: { status: "masked", cause: "infrastructure" } };
        if (answer.result === null) return { results, end: { status: "masked", cause: "replay_miss" } };
        results.push({ text: answer.result, isError: answer.isError });
      }
      return { results, end: null };
    },
    journal: () => journal,
    elapsedMs: () => elapsedMs,
  };
}

function isLoop(journal: readonly JournalEntry[], call: PreparedCall, overlay: Overlay): boolean {
  const before = journal.filter((entry) => entry.callKey === call.callKey && entry.stateBefore === overlay.prefix);
  return before.length >= LOOP - 1;
}

function journalled(
  step: number,
  call: PreparedCall,
  answer: OffTapeAnswer,
  around: { before: Overlay; after: Overlay; latencyMs: number },
): JournalEntry {
  return {
    step,
    tool: call.tool,
    callKey: call.callKey,
    rung: answer.rung,
    ...(answer.servedFrom === null ? {} : { servedFrom: answer.servedFrom }),
    ...(answer.madeFrom.length === 0 ? {} : { madeFrom: answer.madeFrom }),
    ...(answer.simulator === undefined ? {} : { simulator: answer.simulator }),
    ...(answer.recordedAtMs === null ? {} : { recordedAtMs: answer.recordedAtMs }),
    confidence: answer.confidence,
    stateBefore: around.before.prefix,
    stateAfter: around.after.prefix,
    isError: answer.isError,
    latencyMs: around.latencyMs,
  };
}
