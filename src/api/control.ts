import type { ArtifactStore } from "../artifact/artifact-store.ts";
import type { AgentConfig } from "../config.ts";
import type { Logger } from "../log.ts";
import type { RouteWatch } from "../promotion/route-watch.ts";
import type { TrafficRouter } from "../promotion/traffic-router.ts";
import type { Calibrator } from "../reward/calibration/calibrate.ts";
import type { LiveReads } from "../rollout/live-reads.ts";
import type { Recordings } from "../rollout/recordings.ts";
import type { ReplicaSource } from "../serving/replica-source.ts";
import type { Database } from "../store/database.ts";
import type { BootstrapDryRun } from "../training/bootstrap-plan.ts";
import type { DryRun } from "../training/dry-run.ts";
import type { RunFiles } from "../training/run-files.ts";
import type { RunQueue } from "../training/run-queue.ts";
import type { AskedRun } from "../training/begin-once.ts";
import type { RunStore } from "../training/run-store.ts";

/** What the API can ask of one running agent; everything else it reads from the store. */
export interface AgentControl {
  agent: string;
  config: AgentConfig;
  /** Digest of the base model; stable has it until a first promotion. */
  baseDigest: string;
  /** The judge of rewards; null where none is configured. */
  calibrator: Calibrator | null;
  /**
   * @param options `force`: who wants it although the judge agrees too little with people; `key`: of all that are asked for under it the first one begins
   * @throws NightshiftError `run_in_progress`, `run_refused`, `judge_below_agreement`, `adapter_slots_exceeded`
   */
  startRun(options: { force: string | null; key: string | null }): Promise<AskedRun>;
  /** Where the adapters of all agents do not fit on one of its policy servers; null where they do. */
  slots(): Promise<{ url: string; slots: number; wanted: number } | null>;
  /** Reads of the live world; null where none are configured. */
  liveReads: LiveReads | null;
  dryRun(): Promise<DryRun>;
  /** Runs without recordings, against the agent's sandbox. */
  bootstrap: BootstrapDesk;
  recordings(): Promise<Recordings>;
  /** Where its replicas are discovered; null where the config names them. */
  replicaSource: ReplicaSource | null;
  /** Replicas and the adapters that each lists now; null where it does not answer. */
  replicas(): Promise<{ name: string; url: string; models: readonly string[] | null }[]>;
  /** An operator acted: look now, if the loops run in this process; elsewhere the leader finds what was written at its next turn. */
  wake(): void;
}

/** What differs from the config in one run against a sandbox. */
interface BootstrapWish {
  tasks?: number | undefined;
  systemPrompt?: string | undefined;
}

export interface BootstrapDesk {
  /**
   * Registers a run.
   * @throws NightshiftError `bootstrap_not_configured`, `bootstrap_not_sandboxed`, `bootstrap_no_writer`, `run_in_progress`, `run_refused`, `judge_below_agreement`
   */
  start(wish: BootstrapWish & { force: string | null }): Promise<{ runId: string }>;
  /**
   * Lists the tools and makes the tasks up; calls no tool.
   * @throws NightshiftError as `start`, and `bootstrap_server_unavailable`, `bootstrap_tools_unusable`, `bootstrap_tasks_unusable`
   */
  dryRun(wish: BootstrapWish & { signal: AbortSignal; progress: (done: number, total: number) => void }): Promise<BootstrapDryRun>;
}

export interface ApiDeps {
  database: Database;
  artifacts: ArtifactStore;
  runs: RunStore;
  queue: Pick<RunQueue, "before">;
  /** What the database knows of traffic: nothing that is shown waits for another system. */
  router: TrafficRouter;
  /** Where traffic is split. */
  traffic: Pick<TrafficRouter, "routes" | "withhold">;
  /** What gateways are answered from. */
  watch: RouteWatch;
  /** This process among the replicas of the control service. */
  replica: { name: string; isLeader(): boolean };
  agents: ReadonlyMap<string, AgentControl>;
  /** Slugs of all tenants. */
  tenants: readonly string[];
  /** Directories of runs, for erasure. */
  runFiles: RunFiles;
  /**
   * What a tenant's text is redacted with here. Not shared: this process has not got the key that spans were redacted with, and takes personal data out of
   * what it stores, but cannot say which pseudonym stands for whom.
   */
  redactionKey: (tenant: string) => { key: Uint8Array; isShared: boolean };
  /** Directory of runs: trainer status and metrics are read from `<runsDirectory>/<runId>`. */
  runsDirectory: string;
  log: Logger;
  now: () => number;
  monotonicMs: () => number;
}
