import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { flatName } from "./published.ts";

/**
 * Takes checked-out copies that were made before `beforeMs` and are not named, and what killed checkouts left aside. A copy that is asked for again is fetched again.
 * Resolves to how many copies went.
 */
export async function sweepCheckouts(cacheDir: string, { beforeMs, keep }: { beforeMs: number; keep: readonly string[] }): Promise<number> {
  const named = new Set(keep.map((name) => flatName(name)));
  await sweep(join(cacheDir, "staging"), beforeMs, new Set());
  return sweep(join(cacheDir, "named"), beforeMs, named);
}

async function sweep(directory: string, beforeMs: number, keep: ReadonlySet<string>): Promise<number> {
  let removed = 0;
  for (const name of (await readdir(directory).catch(ignoreMissing)) ?? []) {
    const path = join(directory, name);
    const made = await stat(path).catch(ignoreMissing);
    if (made === undefined || made.mtimeMs >= beforeMs || keep.has(name)) continue;
    await rm(path, { recursive: true, force: true });
    removed += 1;
  }
  return removed;
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}
