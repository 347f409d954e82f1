import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { mayWrite } from "../trajectory/tool-profile.ts";
import type { Answer, Cascade } from "./cascade/cascade.ts";
import { stateOf } from "./cascade/overlay.ts";
import type { PreparedCall } from "./cascade/prepare.ts";
import type { Situation } from "./cascade/situation.ts";
import type { Trust } from "./cascade/trust.ts";
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

/** The cascade's own answer as far as it is believed: what is made up (R5) for a tool that was measured to be wrong there is a miss. */
export function believed(made: Answer, call: PreparedCall, { trust }: Pick<Cascade, "trust">): Answer {
  return made.rung === "R5" && !trust.serves(call.tool, "R5") ? missOf(made) : made;
}

/**
 * The answer to a call that no tape answers and nothing was derived for, or `unavailable` where the simulator's server is at fault. A listed live read comes
 * first, because it is true; then the simulator; else `made`, the cascade's own answer, stands. What the simulator was asked for and could not write is a miss, and
 * neither answers for a tool that was measured to be wrong there.
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
  const { trust } = cascade;
  if (offTape.liveReads !== null && made.rung === "R7" && trust.serves(call.tool, "R6")) {
    const live = await offTape.liveReads.read({ situation, call, key: JSON.stringify([runId, ...drawn]) }, options);
    if (live.status === "answered") {
      offTape.count("live_read", "answered");
      const { result, isError, readAtMs } = live;
      const confidence = trust.confidenceOf(call.tool, "R6", CONFIDENCE.liveRead);
      return { ...made, rung: "R6", result, isError, confidence, recordedAtMs: readAtMs };
    }
    if (live.isFailure) offTape.count("live_read", "none");
  }
  const outcome = offTape.simulator === null || !maySimulate(call, trust) ? null : cascade.outcome(situation, call, { seed });
  if (offTape.simulator === null || outcome === null) return made;
  const simulated = await offTape.simulator.answer({ situation, call, outcome, seed: drawn, runId, sources: sources() }, options);
  offTape.count("simulator", simulated.status);
  if (simulated.status === "unavailable") return "unavailable";
  if (simulated.status === "none") return missOf(made);
  const { madeFrom, simulator } = simulated;
  const confidence = simulatedConfidence(call, outcome.confidence, trust);
  const result = call.names.toConversation(simulated.result);
  return { ...missOf(made), rung: "R5", result, isError: outcome.isError, confidence, madeFrom, simulator };
}

function missOf(made: Answer): Answer {
  return { ...made, rung: "R7", result: null, isError: false, confidence: 0, madeFrom: [] };
}

/** A read is worded from what other tapes saw: where those are wrong too often to be served (R3), so is what is made of them. */
function maySimulate(call: PreparedCall, trust: Trust): boolean {
  return trust.serves(call.tool, "R5") && (mayWrite(call.profile) || trust.serves(call.tool, "R3"));
}

/** For the same reason a simulated read is believed no further than the tapes are. */
function simulatedConfidence(call: PreparedCall, stated: number, trust: Trust): number {
  const own = trust.confidenceOf(call.tool, "R5", stated);
  return mayWrite(call.profile) ? own : Math.min(own, trust.confidenceOf(call.tool, "R3", 1));
}
