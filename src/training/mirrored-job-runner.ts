import type { Logger } from "../log.ts";
import type { JobRunner, JobStatus } from "./job-runner.ts";
import type { RunMirror } from "./run-mirror.ts";

interface Deps {
  /** This side's mirror of one run directory. */
  openMirror: (run: { runId: string; runDirectory: string }) => RunMirror;
  log: Logger;
}

interface Mirrored {
  runDirectory: string;
  /** Null once the trainer has ended and everything that it left is here. */
  mirroring: Mirroring | null;
}

/** A mirror at work. */
interface Mirroring {
  /** Ends it after a last pass. Rejects where that fails. */
  end(): Promise<void>;
}

/**
 * A job runner whose trainers have a copy of the run directory, with a bucket in between. This side's copy is kept alike from before the trainer starts until after it has ended: that it
 * has ended is told only when what it left is here, too.
 */
export function createMirroredJobRunner(inner: JobRunner, { openMirror, log }: Deps): JobRunner {
  const runs = new Map<string, Mirrored>();

  const takeRest = async (runId: string): Promise<void> => {
    const at = runs.get(runId);
    if (at === undefined || at.mirroring === null) return;
    const { mirroring, runDirectory } = at;
    at.mirroring = null;
    try {
      await mirroring.end();
    } catch (error) {
      at.mirroring = startMirroring(openMirror({ runId, runDirectory }));
      throw error;
    }
  };
  const letGo = async (runId: string): Promise<void> => {
    const { mirroring = null } = runs.get(runId) ?? {};
    runs.delete(runId);
    await mirroring?.end().catch((err: unknown) => log.warn({ run_id: runId, err }, "run directory: last pass failed"));
  };

  return {
    traits: inner.traits,
    async start(job, options = {}) {
      const { runId, runDirectory } = job;
      if ((runs.get(runId)?.mirroring ?? null) === null) {
        const mirror = openMirror({ runId, runDirectory });
        await mirror.prepare({ signal: options.signal ?? new AbortController().signal });
        runs.set(runId, { runDirectory, mirroring: startMirroring(mirror) });
      }
      await inner.start(job, options);
    },
    async status(runId, options): Promise<JobStatus> {
      const status = await inner.status(runId, options);
      if (status.status !== "finished" && status.status !== "failed") return status;
      try {
        await takeRest(runId);
        return status;
      } catch (error) {
        return { status: "unknown", detail: `its files are not here yet: ${error instanceof Error ? error.message : String(error)}` };
      }
    },
    async cancel(runId, options) {
      try {
        await inner.cancel(runId, options);
      } finally {
        await letGo(runId);
      }
    },
    async release(runId) {
      await Promise.all([inner.release(runId), letGo(runId)]);
    },
    async close() {
      await Promise.all([...runs.keys()].map(letGo));
      await inner.close();
    },
  };
}

function startMirroring(mirror: RunMirror): Mirroring {
  const stopping = new AbortController();
  const running = mirror.run({ signal: stopping.signal });
  // Whoever ends it is told.
  running.catch(() => undefined);
  return {
    end() {
      stopping.abort();
      return running;
    },
  };
}
