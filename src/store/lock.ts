import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { nightshiftError } from "../errors.ts";

/**
 * Takes the exclusive lock of a data directory and returns the function that frees it.
 *
 * Node has no flock of its own, but its SQLite takes real OS file locks: they are free of races, hold against another opener in this process too,
 * and fall with the process on kill -9. A pid file can promise none of the three; ours only names the holder in the error.
 * @throws NightshiftError `data_dir_locked`
 */
export function lockDirectory(dir: string): () => void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const pidFile = join(dir, "lock.pid");
  const lock = new DatabaseSync(join(dir, "lock"));
  try {
    lock.exec("begin exclusive");
  } catch (cause) {
    lock.close();
    throw nightshiftError("data_dir_locked", { dir, pid: holder(pidFile) }, { cause });
  }
  writeFileSync(pidFile, `${process.pid}\n`);
  return () => {
    lock.close();
  };
}

function holder(pidFile: string): string {
  try {
    return readFileSync(pidFile, "utf8").trim();
  } catch {
    return "(unknown)";
  }
}
