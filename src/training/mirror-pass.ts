import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "../artifact/digest.ts";
import { replaceSynced } from "../artifact/durable-file.ts";
import type { Objects } from "../artifact/objects.ts";
import { nightshiftError, NightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { handOver, plainManifest, readHandOver } from "./hand-over.ts";
import { getEntry, putEntry, readDirectory, removeEntry, type Entry } from "./mirror-entry.ts";

type Signal = AbortSignal | undefined;

/** A run directory and where its copy is. */
export interface Mirrored {
  objects: Objects;
  /** Of all keys of the run, with a slash at its end. */
  prefix: string;
  runDirectory: string;
  log: Logger;
  /** Digest of what both have of a changing file, by name. */
  copied: Map<string, string>;
}

/** The run file's entry; directories have the names that they have on disk. */
export const RUN_ENTRY = "run";
const RUN_FILE = "run.json";
const CHECKPOINT = /^checkpoint-\d+$/;

/** Brings the directories of these names that the bucket lacks, as far as they are whole. */
export async function pushDirectories(at: Mirrored, names: RegExp, remote: ReadonlySet<string>, signal: Signal): Promise<void> {
  for (const name of await localDirectories(at.runDirectory, names)) {
    if (remote.has(name)) continue;
    const entry = await readDirectory(join(at.runDirectory, name));
    if (entry === null) continue;
    await putEntry(at.objects, `${at.prefix}${name}/`, entry, signal);
    at.log.info({ entry: name, bytes: sizeOf(entry) }, "run directory: brought to the bucket");
  }
}

/** Takes the entries of these names that the run directory lacks, in the order of their numbers. */
export async function pullDirectories(at: Mirrored, names: RegExp, remote: ReadonlySet<string>, signal: Signal): Promise<void> {
  for (const name of [...remote].filter((entry) => names.test(entry)).toSorted(byNumber)) await pullDirectory(at, name, signal);
}

async function pullDirectory(at: Mirrored, name: string, signal: Signal): Promise<boolean> {
  const directory = join(at.runDirectory, name);
  if ((await readHandOver(directory)) !== null) return true;
  const entry = await getEntry(at.objects, `${at.prefix}${name}/`, signal);
  if (entry === null) return false;
  await handOver(directory, entry.files, entry.manifest);
  at.log.info({ entry: name, bytes: sizeOf(entry) }, "run directory: taken from the bucket");
  return true;
}

export async function pushRunFile({ objects, prefix, runDirectory }: Mirrored, signal: Signal): Promise<void> {
  const files = new Map([[RUN_FILE, await readFile(join(runDirectory, RUN_FILE))]]);
  await putEntry(objects, `${prefix}${RUN_ENTRY}/`, { files, manifest: plainManifest(files) }, signal);
}

export async function hasRunFile({ runDirectory }: Mirrored): Promise<boolean> {
  return (await stat(join(runDirectory, RUN_FILE)).catch(ignoreMissing)) !== undefined;
}

export async function pullRunFile({ objects, prefix, runDirectory }: Mirrored, signal: Signal): Promise<void> {
  const entry = await getEntry(objects, `${prefix}${RUN_ENTRY}/`, signal);
  const bytes = entry?.files.get(RUN_FILE);
  if (bytes === undefined) throw nightshiftError("artifact_missing", { what: `${prefix}${RUN_FILE}` });
  await replaceSynced(join(runDirectory, RUN_FILE), bytes);
}

/** The newest checkpoint that is whole, unless the directory has one as new. One that is not whole is passed over, as the trainer does with torn ones. */
export async function restoreCheckpoint(at: Mirrored, remote: ReadonlySet<string>, signal: Signal): Promise<void> {
  const newestHere = Math.max(-1, ...(await localDirectories(at.runDirectory, CHECKPOINT)).map(numberOf));
  for (const name of [...remote].filter((entry) => CHECKPOINT.test(entry)).toSorted((a, b) => byNumber(b, a))) {
    if (numberOf(name) < newestHere) return;
    try {
      if (await pullDirectory(at, name, signal)) return;
    } catch (error) {
      if (!(error instanceof NightshiftError) || error.code !== "artifact_corrupt") throw error;
      at.log.warn({ entry: name, err: error }, "run directory: checkpoint passed over");
    }
  }
}

/** The trainer keeps its newest checkpoints; the bucket keeps no older ones. */
export async function forgetCheckpoints(at: Mirrored, remote: ReadonlySet<string>, signal: Signal): Promise<void> {
  const oldestHere = Math.min(...(await localDirectories(at.runDirectory, CHECKPOINT)).map(numberOf));
  for (const name of remote) {
    if (CHECKPOINT.test(name) && Number.isFinite(oldestHere) && numberOf(name) < oldestHere)
      await removeEntry(at.objects, `${at.prefix}${name}/`, signal);
  }
}

/** Brings a file that is replaced or appended to, if it changed. */
export async function pushFile({ objects, prefix, runDirectory, copied }: Mirrored, file: string, signal: Signal): Promise<void> {
  const bytes = await readFile(join(runDirectory, file)).catch(ignoreMissing);
  if (bytes === undefined || copied.get(file) === digestOf(bytes)) return;
  await objects.replace(prefix + file, bytes, { signal });
  copied.set(file, digestOf(bytes));
}

export async function pullFile({ objects, prefix, runDirectory, copied }: Mirrored, file: string, signal: Signal): Promise<void> {
  const bytes = await objects.get(prefix + file, { signal });
  if (bytes === null || copied.get(file) === digestOf(bytes)) return;
  await replaceSynced(join(runDirectory, file), bytes);
  copied.set(file, digestOf(bytes));
}

async function localDirectories(runDirectory: string, names: RegExp): Promise<string[]> {
  const present = (await readdir(runDirectory, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  return present.flatMap(({ name }) => (names.test(name) ? [name] : [])).toSorted(byNumber);
}

function numberOf(name: string): number {
  return Number(name.slice(name.lastIndexOf("-") + 1));
}

function byNumber(a: string, b: string): number {
  return numberOf(a) - numberOf(b) || (a < b ? -1 : 1);
}

function sizeOf({ files }: Entry): number {
  return [...files.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}
