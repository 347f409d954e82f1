import { isAbsolute, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { nightshiftError } from "../../errors.ts";
import { distinctMembers, type JudgedMember } from "../attempts-text.ts";

/** An operator's own check of one attempt: a number from 0 to 1, or null where it cannot tell. Deterministic. */
export interface RewardCheck {
  name: string;
  checkAttempt: (attempt: JudgedMember) => unknown;
}

/**
 * Imports a module with a check. `file` is relative to the working directory.
 * @throws NightshiftError `reward_check_invalid`
 */
export async function loadRewardCheck(file: string): Promise<RewardCheck> {
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(isAbsolute(file) ? file : resolve(file)).href)) as Record<string, unknown>;
  } catch (cause) {
    throw invalid(file, `it cannot be imported: ${messageOf(cause)}`, cause);
  }
  const { checkAttempt } = exported;
  if (typeof checkAttempt !== "function") throw invalid(file, "it exports no function checkAttempt");
  return { name: file, checkAttempt: checkAttempt as RewardCheck["checkAttempt"] };
}

/**
 * What the check says of each attempt, in their order; null for masked ones and where it cannot tell. Identical attempts are checked once.
 * @throws NightshiftError `reward_check_invalid` where it throws or gives something else: nothing becomes a number by accident
 */
export function checkAttempts({ name, checkAttempt }: RewardCheck, attempts: readonly JudgedMember[]): (number | null)[] {
  const found: (number | null)[] = attempts.map(() => null);
  for (const same of distinctMembers(attempts)) {
    const attempt = attempts[same[0] ?? -1];
    if (attempt === undefined) continue;
    const value = valueOf(name, checkAttempt, attempt);
    for (const index of same) found[index] = value;
  }
  return found;
}

function valueOf(name: string, check: RewardCheck["checkAttempt"], { messages, end }: JudgedMember): number | null {
  let value: unknown;
  try {
    // No more than a judge would see: ids and logprobs of a rollout are none of its business.
    value = check({ messages, end });
  } catch (cause) {
    throw invalid(name, `checkAttempt threw: ${messageOf(cause)}`, cause);
  }
  if (value === null || (typeof value === "number" && value >= 0 && value <= 1)) return value;
  throw invalid(name, `checkAttempt gave ${(JSON.stringify(value) ?? "undefined").slice(0, 100)}`);
}

function invalid(module: string, problem: string, cause?: unknown): Error {
  return nightshiftError("reward_check_invalid", { module, problem }, { cause });
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, 200);
}
