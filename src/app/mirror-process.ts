import { resolve } from "node:path";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { createRunMirror, type RunMirror, type RunMirrorOptions } from "../training/run-mirror.ts";
import { openObjects } from "./artifacts.ts";

/**
 * The mirror of one run directory in the configured bucket. With artifacts in files there is none: the trainer then has the directory itself, by a shared volume.
 * @throws NightshiftError `config_invalid`, `artifact_credentials_unreadable`
 */
export async function openRunMirror(
  { artifacts }: Pick<Config, "artifacts">,
  options: RunMirrorOptions,
  { log, env }: { log: Logger; env: Record<string, string | undefined> },
): Promise<RunMirror> {
  if (artifacts.driver !== "s3") {
    const problem = "a run directory is mirrored in a bucket only; without one the trainer needs the directory itself";
    throw nightshiftError("config_invalid", { path: "artifacts.driver", received: JSON.stringify(artifacts.driver), problem });
  }
  const objects = await openObjects(artifacts, { env });
  return createRunMirror({ ...options, runDirectory: resolve(options.runDirectory) }, { objects, log });
}
