import { randomUUID } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { nightshiftError } from "../errors.ts";

/** Writes a new file and syncs its bytes. The name itself is durable only after `syncDirectory`. */
export async function writeSynced(path: string, bytes: Uint8Array, mode = 0o600): Promise<void> {
  const file = await open(path, "wx", mode);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes renames and creations inside a directory survive a power cut. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Makes a directory with its parents, each entry synced into the one above. */
export async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = path; ; made = dirname(made)) {
    await syncDirectory(dirname(made));
    if (made === first) return;
  }
}

/** Moves what was written aside to its real name, replacing a file there. */
export async function renameSynced(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncDirectory(dirname(to));
}

/** Writes a file aside and moves it over whatever has its name: readers see the old one or the new one. */
export async function replaceSynced(path: string, bytes: Uint8Array): Promise<void> {
  const aside = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  await writingAside(aside, basename(path), async () => {
    await writeSynced(aside, bytes);
    await renameSynced(aside, path);
  });
}

/** Runs `write`; on failure takes what it left at `aside` away and tells a full disk from other errors. */
export async function writingAside<T>(aside: string, what: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    await rm(aside, { recursive: true, force: true });
    if ((cause as NodeJS.ErrnoException).code === "ENOSPC") throw nightshiftError("disk_full", { what, path: dirname(aside) }, { cause });
    throw cause;
  }
}
