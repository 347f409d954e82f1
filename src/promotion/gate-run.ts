import { hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { AgentConfig } from "../config.ts";
import type { Logger } from "../log.ts";
import type { Pair, PairJudge, PairResult } from "../reward/pair-judge.ts";
import { createLimiter, type Limiter } from "../limiter.ts";
import type { Trust } from "../rollout/cascade/trust.ts";
import type { Isolation, Rollout } from "../rollout/group.ts";
import { rolloutPatiently } from "../rollout/patience.ts";
import type { OffTape } from "../rollout/off-tape.ts";
import type { AgentDriver, GroupPlan } from "../rollout/plan.ts";
import type { Recordings } from "../rollout/recordings.ts";
import type { Scenario } from "../scenario/scenario.ts";
import { selectScenarios } from "../scenario/select.ts";
import type { PolicyServer } from "../serving/policy-server.ts";
import { trustOfRun } from "../training/night-fidelity.ts";
import type { RunStore } from "../training/run-store.ts";
import type { KlSums } from "./gate-kl.ts";
import { scoreRollout } from "./gate-score.ts";
import { decideGate, type GateDecision, type GatePair } from "./gate.ts";

export interface GateRunOptions {
  runId: string;
  config: AgentConfig;
  candidate: { name: string; digest: string };
  stable: { name: string; digest: string };
  signal: AbortSignal;
}

/** The sandbox that a run learned in, for both arms alike. */
export interface LiveGate {
  /** Tasks that trained nothing. */
  heldOut: readonly Scenario[];
  isolation: Isolation;
  /** Rollouts that may be in it at once. */
  concurrency: number;
  open: NonNullable<GroupPlan["openTools"]>;
  /** Whether it may be called any more. */
  isOpen: () => boolean;
}

export interface GateRunDeps {
  runs: RunStore;
  recordings: Recordings;
  policyServer: PolicyServer;
  pairJudge: PairJudge;
  /** What answers rollouts where no tape does, the same to both arms. Unset: nothing does. */
  offTape?: OffTape;
  /** The user's own agent, where there is one: both arms are played by it. */
  agentDriver: AgentDriver | null;
  /** For a run that had no recordings. Unset: tool calls are answered from tapes. */
  live?: LiveGate;
  log: Logger;
}

/** Held-out tapes are trusted as far as the run's own were: a tool is the same tool on both sides of the wall. */
type PlayDeps = GateRunDeps & { trust: Trust; limiter: Limiter; scoring: Limiter };

const JUDGE_ATTEMPTS = 5;

/**
 * Plays candidate and stable on the same held-out scenarios, tapes and seeds with production's sampling, has the pairs judged blind and decides.
 * Every pair is a durable step of the run, so a gate that was killed goes on where it was. Rejects only when `signal` aborts or the store fails.
 */
export async function runGate(options: GateRunOptions, deps: GateRunDeps): Promise<GateDecision> {
  const { config, runId } = options;
  const { night, gate, replay } = config;
  const wanted = { count: 0, heldOutCount: gate.maxScenarios, seed: night.seed };
  // Whole conversations, always: what the user gets is what is compared.
  const mode = deps.agentDriver === null ? "loop" : "agent";
  const { live } = deps;
  const heldOut =
    live?.heldOut.slice(0, gate.maxScenarios) ??
    selectScenarios({ ...deps.recordings.selection, ...wanted }).heldOut.map((scenario) => ({ ...scenario, mode }) as const);
  const isWorldShared = live?.isolation === "none";
  // Nothing that such pairs say would be about the policies: none is played.
  const played = isWorldShared ? [] : heldOut;
  // The first seeds first: as many scenarios as may be are scored.
  const isScored = (at: number, seed: number): boolean => seed * played.length + at < gate.kl.rollouts;
  const jobs = played.flatMap((scenario, at) =>
    Array.from({ length: gate.seedsPerScenario }, (_, seed) => ({ scenario, seed, isScored: isScored(at, seed) })),
  );
  const limiter = createLimiter(Math.min(replay.concurrency, live?.concurrency ?? Infinity));
  const playing = { ...deps, trust: await trustOfRun(deps.runs, runId), limiter, scoring: createLimiter(1) };
  const pairs = await Promise.all(
    jobs.map((job) => deps.runs.step<GatePair>(runId, `gate-${job.scenario.id}-${job.seed}`, () => playPair(job, options, playing))),
  );
  const decision = decideGate(pairs, {
    mode: gate.mode,
    alpha: gate.alpha,
    margin: gate.margin,
    maxMaskedShare: gate.maxMaskedShare,
    isWorldShared,
    ...(gate.kl.rollouts === 0 ? {} : { maxKl: { toStable: gate.kl.maxToStable, toBase: gate.kl.maxToBase } }),
  });
  deps.log.info(
    { run_id: runId, adapter_id: options.candidate.digest, decision: decision.decision, reason: decision.reason, kl: decision.kl },
    "gate decided",
  );
  return decision;
}

interface Job {
  scenario: Scenario;
  seed: number;
  /** Whether the candidate's distance from the other policies is measured on it. */
  isScored: boolean;
}

async function playPair(job: Job, options: GateRunOptions, deps: PlayDeps): Promise<GatePair> {
  const { scenario, seed } = job;
  const [candidate, stable] = await Promise.all([play(job, options.candidate, options, deps), play(job, options.stable, options, deps)]);
  const candidateMasked = candidate.end.status === "masked";
  const stableMasked = stable.end.status === "masked";
  const isComparable = !candidateMasked && !stableMasked;
  const judged = isComparable
    ? await judgeWithPatience({ runId: options.runId, scenarioId: scenario.id, candidate, stable }, options.signal, deps)
    : null;
  const result =
    judged?.status === "compared" ? { x: judged.x, firstSlotWins: judged.firstSlotWins, ordersAgree: judged.ordersAgree } : null;
  const kl = job.isScored ? { kl: await score(candidate, job, options, deps) } : {};
  // A user's scenarios lean on one another, as a cluster's do: one unit each.
  return { scenarioId: scenario.id, cluster: unitOf(options.runId, scenario.subject), seed, candidateMasked, stableMasked, result, ...kl };
}

/** A masked rollout is scored as well: what the candidate said until then is its own. */
function score({ calls }: Rollout, { scenario, seed }: Job, options: GateRunOptions, deps: PlayDeps): Promise<KlSums | null> {
  const { candidate, stable, config, runId, signal } = options;
  const arms = { candidate: candidate.name, stable: stable.name, base: config.model };
  return deps.scoring(() =>
    scoreRollout(calls, arms, { policyServer: deps.policyServer, cacheSalt: `${runId}-gate-${scenario.id}-${seed}`, signal }),
  );
}

/** The user as a unit of this gate: a hash, because steps of runs hold nobody's name. */
function unitOf(runId: string, subject: string): string {
  return hash("sha256", `gate|${runId}|${subject}`).slice(0, 32);
}

/** One rollout; both arms draw from the same seeds. */
async function play(
  { scenario, seed }: Job,
  policy: { name: string; digest: string },
  { config, runId, signal }: GateRunOptions,
  deps: PlayDeps,
): Promise<Rollout> {
  const group = await rolloutPatiently(
    {
      scenario,
      cascade: deps.recordings.cascade("held_out", deps.trust),
      policyServer: deps.policyServer,
      model: policy.name,
      adapterDigest: policy.digest,
      runId: `${runId}-gate`,
      groupSize: 1,
      runSeed: config.night.seed,
      // Iterations count from 1; the gate's draws are those of none of them.
      iteration: -1 - seed,
      sampling: config.sampling,
      limits: config.replay,
      agentDriver: deps.agentDriver,
      limiter: deps.limiter,
      offTape: deps.live === undefined ? deps.offTape : undefined,
      signal,
      ...(deps.live === undefined ? {} : { openTools: deps.live.open, live: deps.live.isolation }),
    },
    deps.live === undefined ? deps : { ...deps, isOpen: deps.live.isOpen },
  );
  const [member] = group.members;
  if (member === undefined) throw new Error("a group of one has one member");
  return member;
}

async function judgeWithPatience(pair: Pair, signal: AbortSignal, deps: GateRunDeps): Promise<PairResult> {
  for (let attempt = 1; ; attempt += 1) {
    const result = await deps.pairJudge.compare(pair, { signal });
    if (result.status !== "retryable" || attempt === JUDGE_ATTEMPTS) return result;
    deps.log.warn({ scenario_id: pair.scenarioId, code: result.error.code, attempt }, "pair judge gave no result, waiting");
    await sleep(result.retryAfterMs, undefined, { signal });
  }
}
