import { canonicalJson, withoutPaths } from "../../trajectory/canonical-arguments.ts";
import { isScalar } from "../../trajectory/entities.ts";
import { parseResult } from "../../trajectory/record-tape.ts";
import type { PreparedCall } from "./prepare.ts";
import type { PooledEntry } from "./tape-pool.ts";

/** Answers that must agree before what they say is taken for known. */
const MIN_AGREEING = 2;

/**
 * Whether several recorded answers, each put into this call's words, say the same but for what differs from call to call. A list is never known so: what is
 * on it belongs to the thing that the model was about.
 */
export function agree({ profile }: Pick<PreparedCall, "profile">, answers: readonly string[]): boolean {
  if (answers.length < MIN_AGREEING) return false;
  const shown = answers.map((answer) => withoutPaths(parseResult(answer), profile.volatileResultPaths));
  return new Set(shown.map(canonicalJson)).size === 1 && !hasList(shown[0]);
}

/** Whether a recorded answer can be put into this call's words: none of it is an argument that the call does not have. */
export function fits({ args, parsed, entry }: PooledEntry, given: unknown): boolean {
  if (args === null || typeof args !== "object") return true;
  const has = new Set(given !== null && typeof given === "object" ? Object.keys(given) : []);
  return Object.entries(args).every(([name, value]) => has.has(name) || !isScalar(value) || !says(parsed, entry.result, value));
}

function says(parsed: unknown, text: string, value: unknown): boolean {
  if (typeof value === "string") return value.length >= 2 && text.includes(JSON.stringify(value).slice(1, -1));
  if (typeof value !== "number" || parsed === null || typeof parsed !== "object") return false;
  return Object.values(parsed).some((item) => item === value || says(item, "", value));
}

function hasList(value: unknown): boolean {
  if (value === null || typeof value !== "object") return false;
  return Array.isArray(value) || Object.values(value).some(hasList);
}
