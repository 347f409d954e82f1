import { setTimeout as sleep } from "node:timers/promises";
import type { RunOutcome, RunStore } from "./run-store.ts";

/** Says when somebody else has ended the run that is being worked on: an erasure that found its subject in a batch. */
export interface RunWatch {
  /** Aborts with the run's end, or with the caller's own signal. */
  signal: AbortSignal;
  /** What the run was ended as; null while it was not. */
  endedAs(): RunOutcome | null;
  stop(): void;
}

const LOOK_EVERY_MS = 500;

export function watchRun({ runId, signal }: { runId: string; signal: AbortSignal }, runs: Pick<RunStore, "get">): RunWatch {
  const ended = new AbortController();
  const stopped = new AbortController();
  let outcome: RunOutcome | null = null;
  const look = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      // A database that is away is for those to notice who need it.
      const run = await runs.get(runId).catch(() => null);
      if (run !== null && run.state !== "running" && !stopped.signal.aborted) {
        ({ outcome } = run);
        ended.abort();
        return;
      }
      await sleep(LOOK_EVERY_MS, undefined, { signal: stopped.signal, ref: false }).catch(() => undefined);
    }
  };
  void look();
  return { signal: AbortSignal.any([signal, ended.signal]), endedAs: () => outcome, stop: () => stopped.abort() };
}
