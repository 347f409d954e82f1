import { canonicalJson, withoutPaths } from "../../trajectory/canonical-arguments.ts";
import { isScalar } from "../../trajectory/entities.ts";
import { parseResult } from "../../trajectory/record-tape.ts";
import type { PreparedCall } from "./prepare.ts";
import type { PooledEntry } from "./tape-pool.ts";

/** A recorded answer, put into a call's words, and whose it was. */
export interface Said {
  conversation: string;
  text: string;
}

/** Conversations whose answers must agree before what they say is taken for known: texts, and what may be a count, or empty by chance. */
const MIN_AGREEING = 2;
const MIN_AGREEING_COUNTS = 5;

/**
 * Whether several recorded answers, each put into this call's words, say the same but for what differs from call to call. A list is never known so: what is
 * on it belongs to the thing that the model was about; where nothing is on it, it says nothing of that.
 */
export function agree({ profile, args }: Pick<PreparedCall, "profile" | "args">, answers: readonly Said[]): boolean {
  const witnesses = new Set(answers.map(({ conversation }) => conversation)).size;
  if (witnesses < MIN_AGREEING) return answers.length > 0 && answers.every(({ text }) => isEcho(text, args));
  const shown = answers.map(({ text }) => withoutPaths(parseResult(text), profile.volatileResultPaths));
  if (new Set(shown.map(canonicalJson)).size > 1 || hasFilledList(shown[0])) return false;
  return witnesses >= MIN_AGREEING_COUNTS || !hasCount(shown[0], args);
}

/** Whether an answer has a number, null or empty list that is none of the call's arguments. */
function hasCount(said: unknown, args: unknown): boolean {
  const asked = new Set(args !== null && typeof args === "object" ? Object.values(args) : []);
  const isCount = (value: unknown): boolean =>
    value === null ||
    (typeof value === "object"
      ? Object.values(value).some(isCount) || Array.isArray(value)
      : typeof value === "number" && !asked.has(value));
  return isCount(said);
}

/** Whether an answer says nothing but what was asked: then one is as good as many. */
function isEcho(answer: string, args: unknown): boolean {
  const said = parseResult(answer);
  if (said === null || typeof said !== "object" || Array.isArray(said) || args === null || typeof args !== "object") return false;
  const asked = new Map(Object.entries(args) as [string, unknown][]);
  return Object.entries(said).every(([name, value]) => isScalar(value) && asked.get(name) === value);
}

/** Whether a recorded answer can be put into this call's words: none of it is an argument that the call does not have. */
export function fits({ args, parsed, entry }: PooledEntry, given: unknown): boolean {
  if (args === null || typeof args !== "object") return true;
  const has = new Set(given !== null && typeof given === "object" ? Object.keys(given) : []);
  return Object.entries(args).every(([name, value]) => has.has(name) || !isScalar(value) || !says(parsed, entry.result, value));
}

/** Whether a recorded call was given the same arguments as this one, whatever their values: one left out may be what its answer shows as empty. */
export function givesSame({ args }: PooledEntry, call: PreparedCall): boolean {
  const namesOf = (given: unknown): string =>
    Object.keys(given !== null && typeof given === "object" ? given : {})
      .filter((name) => !["clock", "nonce"].includes(call.profile.argumentRoles[name] ?? ""))
      .sort()
      .join("\n");
  return namesOf(args) === namesOf(call.args);
}

function says(parsed: unknown, text: string, value: unknown): boolean {
  if (typeof value === "string") return value.length >= 2 && text.includes(JSON.stringify(value).slice(1, -1));
  if (typeof value !== "number" || parsed === null || typeof parsed !== "object") return false;
  return Object.values(parsed).some((item) => item === value || says(item, "", value));
}

function hasFilledList(value: unknown): boolean {
  if (value === null || typeof value !== "object") return false;
  return Array.isArray(value) ? value.length > 0 : Object.values(value).some(hasFilledList);
}
