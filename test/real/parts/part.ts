import { spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A real outside system: `npm run test:real` fetches it once, the tests start it as plain processes. */
export interface Part {
  /** Also what `--only` takes and the folder below test/real that the part's tests are in. */
  readonly name: string;
  /** Exact: a new version is a new folder. */
  readonly version: string;
  /** What the folder weighs when it is complete, in MB. */
  readonly sizeMb: number;
  /** Fetches into `dir`, which is empty; the caller writes the marker once this has resolved. `say` prints a line of progress. @throws PartError */
  fetch(dir: string, say: (line: string) => void): Promise<void>;
}

/** Something that a part needs cannot be had: one line and what to do about it. */
export class PartError extends Error {
  constructor(problem: string, fix: string) {
    super(`${problem}\n  fix: ${fix}`);
    this.name = "PartError";
  }
}

/** Written last: a folder without it is fetched again from nothing. */
const MARKER = ".complete";

/** Where a part lives once it is fetched, and the marker that says it is complete. */
function partPlace(part: Part): { dir: string; marker: string } {
  const dir = fileURLToPath(new URL(`../../../.cache/parts/${part.name}-${part.version}`, import.meta.url));
  return { dir, marker: join(dir, MARKER) };
}

/** Fetches a part that is not there yet. A fetch that was interrupted left no marker: it starts again from nothing. @throws PartError */
export async function ensurePart(part: Part, say: (line: string) => void): Promise<void> {
  const { dir, marker } = partPlace(part);
  const title = `${part.name} ${part.version}`;
  if (existsSync(marker)) return say(`ok   ${title} (in the cache)`);
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  const started = performance.now();
  say(`     ${title}: fetching, about ${part.sizeMb} MB`);
  await part.fetch(dir, (line) => say(`     ${title}: ${line}`));
  writeFileSync(marker, `${new Date().toISOString()}\n`);
  return say(`ok   ${title} (fetched in ${((performance.now() - started) / 1000).toFixed(1)} s)`);
}

/** The folder of a part that was fetched. @throws PartError when it was not */
export function partDirectory(part: Part): string {
  const { dir, marker } = partPlace(part);
  if (!existsSync(marker))
    throw new PartError(`${part.name} ${part.version} is not in .cache/parts`, `npm run test:real -- --only ${part.name}`);
  return dir;
}

/**
 * Runs a tool to its end and resolves to what it printed on stdout.
 * @throws PartError `problem` with the tool's last lines, or that the tool is missing
 */
export function runTool(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string>; problem: string; fix: string },
): Promise<string> {
  const child = spawn(command, args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let tail = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => (tail = (tail + chunk.toString()).slice(-2000)));
  }
  return new Promise((resolve, reject) => {
    child.on("error", () => reject(new PartError(`${options.problem}: ${command} could not be started`, options.fix)));
    child.on("close", (code) => {
      if (code === 0) resolve(stdout);
      else reject(new PartError(`${options.problem}: ${command} ended with exit code ${code}\n${tail.trim()}`, options.fix));
    });
  });
}
