export type JobStatus =
  | { status: "running" }
  | { status: "finished" }
  /** `retryable` is false for exit codes 64 (config) and 65 (dataset). */
  | { status: "failed"; exitCode: number | null; retryable: boolean; detail: string };

/** Runs the trainer of a run. A run has at most one trainer: starting twice is one job. */
export interface JobRunner {
  /** Starts the trainer on a run directory, or adopts the one that is already there. */
  start(job: { runId: string; runDirectory: string }, options?: { signal?: AbortSignal }): Promise<void>;
  status(runId: string, options?: { signal?: AbortSignal }): Promise<JobStatus>;
  /** Asks it to checkpoint and stop; resolves when it has. */
  cancel(runId: string): Promise<void>;
  close(): Promise<void>;
}
