import { resolve } from "node:path";
import type { Digest } from "../artifact/artifact-store.ts";
import { baseDigest } from "../artifact/base-digest.ts";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";

/**
 * Identity of an agent's base model: as the config says, else of what is in its directory; part digests are kept in `cacheFile`.
 * @throws NightshiftError `config_invalid` where `baseModel` names no readable directory, `artifact_corrupt` where that holds no model
 */
export async function baseModelDigest(
  agent: string,
  { baseModel, baseModelDigest: told }: AgentConfig,
  cacheFile: string,
): Promise<Digest> {
  if (told !== undefined) return told as Digest;
  try {
    return await baseDigest(resolve(baseModel), { cacheFile });
  } catch (cause) {
    const problem = PROBLEMS[(cause as NodeJS.ErrnoException).code ?? ""];
    if (problem === undefined) throw cause;
    throw nightshiftError("config_invalid", { path: `agents.${agent}.baseModel`, received: JSON.stringify(baseModel), problem }, { cause });
  }
}

const PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such directory",
  ENOTDIR: "it is not a directory",
  EACCES: "this process may not read it",
};
