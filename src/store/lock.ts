import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { nightshiftError } from "../errors.ts";
import { makeDataDirectory, unusable } from "./data-directory.ts";

const SQLITE_BUSY = 5;

/**
 * Takes the exclusive lock of a data directory and returns the function that frees it.
 *
 * Node has no flock of its own, but its SQLite takes real OS file locks: they are free of races, hold against another opener in this process too,
 * and fall with the process on kill -9. A pid file can promise none of the three; ours only names the holder in the error.
 * @throws NightshiftError `data_dir_locked`, `data_dir_unusable`
 */
export function lockDirectory(dir: string): () => void {
  makeDataDirectory(dir);
  const pidFile = join(dir, "lock.pid");
  const lock = openLock(dir);
  try {
    lock.exec("begin exclusive");
    writeFileSync(pidFile, `${process.pid}\n`);
  } catch (cause) {
    lock.close();
    const isHeld = (cause as { errcode?: number }).errcode === SQLITE_BUSY;
    throw isHeld ? nightshiftError("data_dir_locked", { dir, pid: holder(pidFile) }, { cause }) : unusable(dir, cause);
  }
  return () => {
    lock.close();
  };
}

function openLock(dir: string): DatabaseSync {
  try {
    return new DatabaseSync(join(dir, "lock"));
  } catch (cause) {
    throw unusable(dir, cause);
  }
}

function holder(pidFile: string): string {
  try {
    return readFileSync(pidFile, "utf8").trim();
  } catch {
    return "(unknown)";
  }
}
