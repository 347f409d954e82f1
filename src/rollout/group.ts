import type { Scenario } from "../scenario/scenario.ts";
import type { Message, ToolDefinition } from "../trace/message.ts";

export type Rung = "R0" | "R1" | "R2" | "R3" | "R4" | "R5" | "R6" | "R7" | "agent_error";

/** One tool answer of a rollout and where it came from. */
export interface JournalEntry {
  step: number;
  tool: string;
  callKey: string;
  rung: Rung;
  /** Tape id and entry index for R0–R3. */
  servedFrom?: { tape: string; entry: number };
  /** Tapes that an answer at R4, R5 or to a mistake took its shape and values from. */
  madeFrom?: readonly string[];
  /** Who wrote an answer at R5, and the hash of all that it was asked; missing where code rendered it. */
  simulator?: { model: string; promptHash: string };
  /** When the served answer was recorded, for R0–R3, or given, for R6. */
  recordedAtMs?: number;
  confidence: number;
  stateBefore: string;
  stateAfter: string;
  isError: boolean;
  /** What the tool took, by the recordings: it moves the rollout's clock, nobody waits. Missing in groups from before it was kept. */
  latencyMs?: number;
}

/**
 * Servers draw from probabilities in float32, where exp of less than this is 0: whoever says less of a token that was sampled has no probability for it. vLLM writes −9999 where JSON
 * cannot hold −∞. The trainer's `types.py` has the same number.
 */
const LEAST_LOGPROB = -104;

/** One model call as sampled: exact ids and processed logprobs. */
export interface SampledCall {
  promptTokenIds: readonly number[];
  completionTokenIds: readonly number[];
  logprobs: readonly number[];
  finishReason: string;
  adapterDigest: string;
  sampling: { temperature: number; topP: number; topK: number; minP: number; seed: number };
}

/**
 * `cut: "user_turn"`: the agent said something that the recorded user never answered, and nobody else may speak for them; it is judged by what it did until then.
 * `completed` and `truncated` (a loop, or the agent's own limits: its fault, scored) count; `masked` ones (replay's or infrastructure's fault)
 * are in no mean, deviation, count, loss denominator or judge prompt.
 */
export type RolloutEnd =
  | { status: "completed"; cut?: "user_turn" }
  | { status: "truncated"; cause: "loop" | "max_calls" | "length" }
  | { status: "masked"; cause: "replay_miss" | "simulated_share" | "too_many_calls" | "infrastructure" | AgentFault };

/**
 * Why a rollout of the user's own agent says nothing about the policy: it could not be started, died, answered with an error or without asking the model; it ran
 * past its time; it asked for what the sampler cannot honour and still sample the policy's own distribution; it left out a write that it had been told to make, and
 * went on as if it had.
 */
export type AgentFault = (typeof AGENT_FAULTS)[number];
export const AGENT_FAULTS = ["agent_failed", "agent_timeout", "unsupported_request", "skipped_write"] as const;

/** `message` is its place among the rollout's messages. */
export interface SimulatedUserTurn {
  message: number;
  model: string;
  promptHash: string;
}

export interface Rollout {
  rolloutId: string;
  scenarioId: string;
  /** The whole transcript, system message first. */
  messages: readonly Message[];
  calls: readonly SampledCall[];
  journal: readonly JournalEntry[];
  /** User turns that a model said in place of the recorded user; missing where there are none. */
  simulatedUserTurns?: readonly SimulatedUserTurn[];
  end: RolloutEnd;
  seed: number;
  /**
   * Transcripts that the agent's requests made, where they did not all extend one (`messages` is the one with the last call). Missing for one.
   */
  branches?: number;
}

/** Whether there is no ratio to what sampled it, for want of some token's probability: it is judged, and in the baseline, but not learned from. Pure. */
export function lacksProbability({ calls }: Pick<Rollout, "calls">): boolean {
  return calls.some(({ logprobs }) => logprobs.some((logprob) => logprob < LEAST_LOGPROB));
}

/** How faithful a group's tool answers were; a group without tool calls is faithful. Shares are of all calls of all members. */
export interface FidelityReport {
  callsByRung: Readonly<Partial<Record<Rung, number>>>;
  /** Share answered at R0–R4, or as the agent's own mistake. */
  coverage: number;
  /** Share answered with recorded bytes: R0–R3. */
  realShare: number;
  /** Share answered at R5. */
  simulatedShare: number;
  /** First call of any member, from 0, that its scenario's own tape did not answer in its own state; null when there was none. */
  divergenceStep: number | null;
  /** Calls of a diverged member from its first such call to its end, that one included: the mean over those members, 0 without. Missing in groups from before it was kept. */
  divergenceDepth?: number;
  /** Largest distance in time between a served recording and the scenario. */
  stalenessMs: number;
  /** Per group: the geometric mean of the confidences per served call, averaged over unmasked members. (Weights per member would break ΣA = 0.) */
  weight: number;
  /** Members that are not masked. */
  unmasked: number;
  /** `step-only`: too few members have an honest end, but enough have an honest beginning to sample single actions from. */
  decision: "train" | "downweight" | "step-only" | "drop";
  /** The tools were a live sandbox's (every answer is R6), and what kept its members apart. Missing where they were replayed. */
  live?: Isolation;
  /** Why it is not `train`. Missing in groups from before they were kept. */
  reasons?: readonly FidelityReason[];
}

/**
 * What kept the rollouts of a live sandbox apart: a world of each connection's own, a reset before each, or nothing: then each met what those before it had written.
 */
export type Isolation = "connection" | "reset" | "none";

export type FidelityReason =
  | "low_weight"
  /** Fewer than three unmasked members, or fewer than half. */
  | "few_unmasked"
  /** Some were masked because replay had no honest answer, drew too many, or was asked too much. */
  | "masked_by_replay"
  | "masked_by_infrastructure";

/** G attempts at the same scenario by the same policy. */
export interface TrajectoryGroup {
  groupId: string;
  runId: string;
  iteration: number;
  scenarioId: string;
  /** How it was played, and why so. Missing in groups from before there was a choice. */
  played?: Pick<Scenario, "mode" | "modeReason" | "predictedCoverage" | "cutFrom">;
  adapterDigest: string;
  tools: readonly ToolDefinition[];
  members: readonly Rollout[];
  fidelity: FidelityReport;
}
