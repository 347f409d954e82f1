import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import type { Answer, Cascade } from "./cascade/cascade.ts";
import { stateOf } from "./cascade/overlay.ts";
import type { PreparedCall } from "./cascade/prepare.ts";
import type { Situation } from "./cascade/situation.ts";
import { CONFIDENCE } from "./confidence.ts";
import type { LiveReads } from "./live-reads.ts";
import type { Simulator } from "./simulator/simulator.ts";
import type { SimulatedUser } from "./user/simulated-user.ts";

/** What answers where no tape does. Each is null where it is not configured; one for all runs of an agent. */
export interface OffTape {
  simulator: Simulator | null;
  liveReads: LiveReads | null;
  user: SimulatedUser | null;
  count: (kind: "simulator" | "live_read" | "user", outcome: "answered" | "none" | "unavailable") => void;
}

export function createOffTape(agent: string, parts: Omit<OffTape, "count">): OffTape {
  const answers = createCounter(METRIC.offTapeAnswers);
  return {
    ...parts,
    count: (kind, outcome) => answers.add(1, { "nightshift.agent": agent, "nightshift.kind": kind, "nightshift.outcome": outcome }),
  };
}

/** An answer and, at R5, who wrote it. */
export type OffTapeAnswer = Answer & { simulator?: { model: string; promptHash: string } };

export interface Beyond {
  cascade: Cascade;
  offTape: OffTape;
  runId: string;
  /** Run seed and iteration. */
  seed: readonly (string | number)[];
  /** Whose text the rollout has seen so far. */
  sources: () => readonly string[];
}

/**
 * The answer to a call that no tape answers and nothing was derived for, or `unavailable` where the simulator's server is at fault. A listed live read comes
 * first, because it is true; then the simulator; else `made`, the cascade's own answer, stands. What the simulator was asked for and could not write is a miss.
 */
export async function answerBeyond(
  situation: Situation,
  call: PreparedCall,
  made: Answer,
  { cascade, offTape, runId, seed, sources }: Beyond,
  signal?: AbortSignal,
): Promise<OffTapeAnswer | "unavailable"> {
  const options = signal === undefined ? {} : { signal };
  const drawn = [...seed, situation.start.scenarioId, call.callKey, stateOf(situation.overlay)];
  if (offTape.liveReads !== null && made.rung === "R7") {
    const live = await offTape.liveReads.read({ situation, call, key: JSON.stringify([runId, ...drawn]) }, options);
    if (live.status === "answered") {
      offTape.count("live_read", "answered");
      const { result, isError, readAtMs } = live;
      return { ...made, rung: "R6", result, isError, confidence: CONFIDENCE.liveRead, recordedAtMs: readAtMs };
    }
    if (live.isFailure) offTape.count("live_read", "none");
  }
  const outcome = offTape.simulator === null ? null : cascade.outcome(situation, call, { seed });
  if (offTape.simulator === null || outcome === null) return made;
  const simulated = await offTape.simulator.answer({ situation, call, outcome, seed: drawn, runId, sources: sources() }, options);
  offTape.count("simulator", simulated.status);
  if (simulated.status === "unavailable") return "unavailable";
  const missed: Answer = { ...made, rung: "R7", result: null, isError: false, confidence: 0, madeFrom: [] };
  if (simulated.status === "none") return missed;
  const { madeFrom, simulator } = simulated;
  const { isError, confidence } = outcome;
  return { ...missed, rung: "R5", result: call.names.toConversation(simulated.result), isError, confidence, madeFrom, simulator };
}
