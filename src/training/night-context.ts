import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import type { SigningKey } from "../artifact/signing-key.ts";
import type { AgentConfig } from "../config.ts";
import type { Logger } from "../log.ts";
import type { RewardCheck } from "../reward/independent/check-module.ts";
import type { Judge } from "../reward/judge.ts";
import type { RecordingPins } from "../rollout/load-recordings.ts";
import type { AgentDriver, GroupPlan } from "../rollout/plan.ts";
import type { Recordings } from "../rollout/recordings.ts";
import type { OffTape } from "../rollout/off-tape.ts";
import type { PolicyServer } from "../serving/policy-server.ts";
import type { Database } from "../store/database.ts";
import type { RegisteredAdapter } from "./adapters.ts";
import type { JobRunner } from "./job-runner.ts";
import type { RunStore } from "./run-store.ts";

/** What one agent's run may use of its fleet. */
export interface Fleet {
  /** What stable traffic is served with: the start of the night. `adapter` is null on the base model. */
  stable(): Promise<{ name: string; digest: string; adapter: RegisteredAdapter | null }>;
  /** Before anything is rolled out. Unset: there is room for what a night makes. @throws NightshiftError `adapter_slots_exceeded` */
  reserveSlot?(runId: string): Promise<void>;
  /** Resolves when every replica has the adapter loaded and proven active. @throws NightshiftError when one refuses it */
  ensureServed(adapter: RegisteredAdapter, signal: AbortSignal): Promise<void>;
  /** The night is over: what it had loaded and no route or experiment names may go. */
  release(): void;
  /** Rollouts go here; it spreads calls over the replicas. */
  policyServer: PolicyServer;
  baseDigest: Digest;
}

export interface NightDeps {
  database: Database;
  artifacts: ArtifactStore;
  jobRunner: JobRunner;
  runs: RunStore;
  judge: Judge;
  /** The judge's own repeat deviation by its calibration; null where it has none. */
  judgeDeviation: () => Promise<number | null>;
  /** Scores a sample of what the judge has scored; null where none is configured. Unset: none. */
  auditJudge?: Judge | null;
  /** The operator's check of attempts; null where none is configured. */
  rewardCheck: RewardCheck | null;
  /** What answers rollouts where no tape does. Unset: nothing does. */
  offTape?: OffTape;
  fleet: Fleet;
  /** Runs the user's own agent for rollouts; null where none is configured. */
  agentDriver: AgentDriver | null;
  key: SigningKey;
  /** Captured conversations of the agent as of `nowMs`; with `pins`, exactly those versions. */
  recordings: (options: { nowMs: number; pins?: RecordingPins }) => Promise<Recordings>;
  /** Where the tool calls of training rollouts go. Default: replay. */
  openTools?: GroupPlan["openTools"];
  log: Logger;
  now: () => number;
  monotonicMs: () => number;
}

export interface NightOptions {
  runId: string;
  agent: string;
  config: AgentConfig;
  /** Directory of all runs; this one works in `<runsDirectory>/<runId>`. */
  runsDirectory: string;
  signal: AbortSignal;
}
