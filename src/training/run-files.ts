import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Objects } from "../artifact/objects.ts";

/** The directories of runs, and their copies in a bucket where runs are mirrored. */
export interface RunFiles {
  /** Takes a batch away, also what a crash left of it aside. Nobody may be working on the run. */
  removeBatch(run: { runId: string; iteration: number }): Promise<void>;
  /** Takes all of a run away. */
  removeRun(runId: string): Promise<void>;
  /** Runs that have a directory, with when it was last changed, by this machine's clock. */
  list(): Promise<{ runId: string; changedAtMs: number }[]>;
}

const RUN_ID = /^[0-9a-zA-Z-]{1,64}$/;

/**
 * Where trainers of an agent keep the digests of base models' files from run to run: below the directory of all runs, under a name that no run has. One directory per agent, which has one
 * run at a time: two never write it at once, and no agent's trainer is told anything by another's.
 */
export function digestsPath(agent: string): string {
  return join(".digests", agent);
}

export function createRunFiles({ runsDirectory }: { runsDirectory: string }, { mirror }: { mirror: Objects | null }): RunFiles {
  const removeMirrored = async (prefix: string): Promise<void> => {
    for (const key of (await mirror?.list(prefix)) ?? []) await mirror?.remove(key);
  };
  return {
    async removeBatch({ runId, iteration }) {
      const directory = directoryOf(runsDirectory, runId);
      const name = `batch-${iteration}`;
      const left = (await entries(directory)).filter((entry) => entry === name || entry.startsWith(`.${name}-`));
      for (const entry of left) await rm(join(directory, entry), { recursive: true, force: true });
      await removeMirrored(`runs/${runId}/${name}/`);
    },
    async removeRun(runId) {
      await rm(directoryOf(runsDirectory, runId), { recursive: true, force: true });
      await removeMirrored(`runs/${runId}/`);
    },
    async list() {
      const names = (await entries(runsDirectory)).filter((name) => RUN_ID.test(name));
      const found = await Promise.all(
        names.map(async (runId) => {
          const { mtimeMs } = (await stat(join(runsDirectory, runId)).catch(ignoreMissing)) ?? { mtimeMs: 0 };
          return { runId, changedAtMs: mtimeMs };
        }),
      );
      return found.toSorted((a, b) => (a.runId < b.runId ? -1 : 1));
    },
  };
}

/** Ids come from rows, but a path is a path. */
function directoryOf(runsDirectory: string, runId: string): string {
  if (!RUN_ID.test(runId)) throw new RangeError(`no run can be called ${JSON.stringify(runId)}`);
  return join(runsDirectory, runId);
}

async function entries(directory: string): Promise<string[]> {
  return (await readdir(directory).catch(ignoreMissing)) ?? [];
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}
