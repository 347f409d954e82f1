export type JobStatus =
  | { status: "running" }
  /** There is a job, and the trainer is not at work yet, or not now: it waits for a node, an image, its turn. `reason` is one word. */
  | { status: "waiting"; reason: string; detail: string }
  | { status: "finished" }
  /** `retryable`: starting it again may help. Not for exit codes 64 (config) and 65 (dataset), nor where whoever runs it has tried often enough. */
  | { status: "failed"; exitCode: number | null; retryable: boolean; detail: string }
  /** It has waited for a place as long as it may: nothing is wrong with the run, there was nowhere to train. */
  | { status: "no_capacity"; waitedMs: number; detail: string }
  /** Nobody can be asked now. That says nothing of the trainer, least of all that it failed. */
  | { status: "unknown"; detail: string };

/** A run and where its files are. */
export interface TrainerJob {
  runId: string;
  agent: string;
  /** Below the directory of all runs, in which a driver may keep what the agent's next trainer can use (`digestsPath`). */
  runDirectory: string;
}

/**
 * Runs the trainer of a run. A run has at most one trainer: starting twice is one job, whichever process starts it. What a driver needs to know of a job it reads where the job is,
 * so that a process that starts anew finds it as it was.
 */
export interface JobRunner {
  /** What whoever waits for a trainer must know of where it runs. */
  readonly traits: {
    /** It starts crashed trainers again by itself. A silent one is then told of and left alone: whoever started another could have two. */
    restartsItself: boolean;
    /** A trainer that waits for its batch longer is worth stopping meanwhile; null where it costs nobody anything. */
    giveBackAfterIdleMs: number | null;
  };
  /**
   * Starts the trainer on a run directory, or adopts the one that is already there.
   * @throws NightshiftError `cluster_unavailable` for what passes, `trainer_job_refused`, `job_template_invalid`
   */
  start(job: TrainerJob, options?: { signal?: AbortSignal }): Promise<void>;
  /** Rejects only when `signal` aborts. */
  status(runId: string, options?: { signal?: AbortSignal }): Promise<JobStatus>;
  /** Asks it to checkpoint and stop; resolves when it has, or when there is none. Aborted, it has been asked, and rejects. */
  cancel(runId: string, options?: { signal?: AbortSignal }): Promise<void>;
  /** This process works on the run no more, and another may go on with it. What cannot outlive this process is stopped; a job elsewhere goes on, for whoever adopts it. */
  release(runId: string): Promise<void>;
  /** `release` of all. */
  close(): Promise<void>;
}
