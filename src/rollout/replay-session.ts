import { turnHashOf } from "../trajectory/record-tape.ts";
import type { Answer, Cascade } from "./cascade/cascade.ts";
import { emptyOverlay, stateOf, type Overlay } from "./cascade/overlay.ts";
import type { PreparedCall } from "./cascade/prepare.ts";
import type { ReplayStart } from "./cascade/situation.ts";
import type { JournalEntry } from "./group.ts";
import { latencyOf } from "./latency.ts";
import type { ToolRequest, ToolSession, TurnAnswers } from "./tool-session.ts";

/** The same call in the same state this often is a loop. */
const LOOP = 3;

export interface ReplaySessionOptions {
  cascade: Cascade;
  start: ReplayStart;
  /** With them, the scenario, the call and the state everything drawn is drawn: siblings agree. */
  runSeed: number;
  iteration: number;
}

/** Answers one rollout's tool calls from tapes; nothing is executed. A loop ends the rollout as the agent's fault, a call without an honest answer as replay's. */
export function createReplaySession(options: ReplaySessionOptions): ToolSession {
  const { cascade, start, runSeed, iteration } = options;
  const journal: JournalEntry[] = [];
  let overlay = emptyOverlay();
  let elapsedMs = 0;

  const answerOne = (call: PreparedCall, turn: string): Answer => {
    const situation = { pool: cascade.pool, start, overlay };
    const seed = [runSeed, iteration];
    const answer = cascade.answer(situation, call, { seed, turn });
    const after = cascade.advance(overlay, call, answer);
    const latencyMs = latencyOf(cascade.pool, call, answer, [...seed, start.scenarioId, call.callKey, stateOf(overlay)]);
    journal.push(journalled(journal.length, call, answer, { before: overlay, after, latencyMs }));
    overlay = after;
    elapsedMs += latencyMs;
    return answer;
  };

  return {
    // oxlint-disable-next-line typescript/require-await -- answers that a model renders are waited for here
    async answer(turn, options): Promise<TurnAnswers> {
      const prepare = ({ tool, arguments: raw }: ToolRequest): PreparedCall => cascade.prepare(start, tool, raw);
      const calls = turn.map(prepare);
      const block = turnHashOf((options?.block?.map(prepare) ?? calls).map(({ callKey }) => callKey));
      const results: { text: string; isError: boolean }[] = [];
      for (const call of calls) {
        if (isLoop(journal, call, overlay)) return { results, end: { status: "truncated", cause: "loop" } };
        const answer = answerOne(call, block);
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
  answer: Answer,
  around: { before: Overlay; after: Overlay; latencyMs: number },
): JournalEntry {
  return {
    step,
    tool: call.tool,
    callKey: call.callKey,
    rung: answer.rung,
    ...(answer.servedFrom === null ? {} : { servedFrom: answer.servedFrom }),
    ...(answer.madeFrom.length === 0 ? {} : { madeFrom: answer.madeFrom }),
    ...(answer.recordedAtMs === null ? {} : { recordedAtMs: answer.recordedAtMs }),
    confidence: answer.confidence,
    stateBefore: around.before.prefix,
    stateAfter: around.after.prefix,
    isError: answer.isError,
    latencyMs: around.latencyMs,
  };
}
