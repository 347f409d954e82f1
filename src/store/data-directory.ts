import { mkdirSync } from "node:fs";
import { nightshiftError } from "../errors.ts";

/** Makes a directory of this process's own, readable by its user only. @throws NightshiftError `data_dir_unusable` */
export function makeDataDirectory(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw unusable(dir, cause);
  }
}

export function unusable(dir: string, cause: unknown): Error {
  return nightshiftError("data_dir_unusable", { dir, problem: cause instanceof Error ? cause.message : String(cause) }, { cause });
}
