import { readFileSync } from "node:fs";
import type { LlmJudgeConfig } from "../../config-judge.ts";
import { nightshiftError } from "../../errors.ts";

/** The configured key; "none" where none is. @throws NightshiftError `judge_key_unreadable` */
export function readJudgeKey(config: LlmJudgeConfig, env: Record<string, string | undefined>): string {
  if (config.apiKeyFile !== undefined) {
    try {
      return readFileSync(config.apiKeyFile, "utf8").trim();
    } catch (cause) {
      throw nightshiftError("judge_key_unreadable", { source: config.apiKeyFile, problem: (cause as Error).message }, { cause });
    }
  }
  // A server without authentication still wants some bearer token from the package.
  if (config.apiKeyEnv === undefined) return "none";
  const key = env[config.apiKeyEnv]?.trim();
  if (key === undefined || key === "")
    throw nightshiftError("judge_key_unreadable", { source: config.apiKeyEnv, problem: "it is not set" });
  return key;
}
