import { mayWrite, type ToolFact, type ToolProfile } from "../tool-profile.ts";
import type { Seen } from "./samples.ts";

/** Fields that mark an error by being there. `error` is the default of every tool. */
const ERROR_FIELDS = ["errors", "error_message", "errorMessage", "error_code", "errorCode", "exception", "fault"] as const;
const CODE_FIELDS = ["status_code", "statusCode", "status", "code", "http_status"] as const;
const FLAGS = ["success", "ok"] as const;
/** Recorded errors of one shape before a read's errors are told by it. */
const MIN_ERRORS = 3;
/** Fields that at least this share of the other answers has are what a success looks like. */
const USUAL_SHARE = 0.9;

/** How an answer says that its call failed: the span or protocol, the tool's error path, a field, an HTTP-like code, a flag, or its text. */
export type ErrorShape = { by: "recorded" | "field" | "code" | "flag" | "text"; path: string | null };

/**
 * What about an answer looks like an error, or null. For showing and counting: only `recorded` decides in replay, because an answer that is wrongly
 * taken for a failed write would hide a change of state.
 */
export function errorShapeOf({ entry, result }: Pick<Seen, "entry" | "result">): ErrorShape | null {
  if (entry.isError) return { by: "recorded", path: null };
  if (typeof result === "string") return /^\W{0,3}(?:error|exception|traceback)\b/i.test(result) ? { by: "text", path: null } : null;
  if (result === null || typeof result !== "object" || Array.isArray(result)) return null;
  const fields = new Map(Object.entries(result));
  const field = ERROR_FIELDS.find((name) => isSaying(fields.get(name)));
  if (field !== undefined) return { by: "field", path: field };
  const code = CODE_FIELDS.find((name) => isErrorCode(fields.get(name)));
  if (code !== undefined) return { by: "code", path: code };
  const flag = FLAGS.find((name) => fields.get(name) === false);
  return flag === undefined ? null : { by: "flag", path: flag };
}

/**
 * The error path of a tool that has none configured: a field that marks errors, where its answers with it lack what all others have, and no answer
 * ever had the default `error`. Gone by for what cannot write.
 */
export function learnErrorPath(profile: ToolProfile, seen: readonly Seen[]): readonly ToolFact[] {
  if (seen.some(({ result }) => isRecord(result) && isSaying(result["error"]))) return [];
  const shapes = seen.map((one) => ({ one, shape: errorShapeOf(one) }));
  const others = shapes.filter(({ shape }) => shape === null).map(({ one }) => one.result);
  const given = new Set(seen.flatMap(({ args }) => (isRecord(args) ? Object.keys(args) : [])));
  const usual = usualFields(others).filter((name) => !given.has(name));
  const facts: ToolFact[] = [];
  for (const path of [...ERROR_FIELDS, ...CODE_FIELDS, ...FLAGS]) {
    const failed = shapes.filter(({ shape }) => shape?.path === path);
    if (failed.length === 0) continue;
    const partial = failed.filter(({ one }) => usual.some((name) => isRecord(one.result) && Object.hasOwn(one.result, name))).length;
    const isField = (ERROR_FIELDS as readonly string[]).includes(path);
    const isClear = isField && failed.length >= MIN_ERRORS && partial === 0 && usual.length > 0;
    const used = isClear && !mayWrite(profile) && facts.every((fact) => !fact.used);
    facts.push({
      ...{ about: "errorPath", value: path, from: "learned", for: failed.length - partial, against: partial, used },
      note: noteOf(profile, { isField, isClear, used }),
    });
  }
  return facts;
}

function noteOf(profile: ToolProfile, { isField, isClear, used }: { isField: boolean; isClear: boolean; used: boolean }): string {
  if (used) return "answers with it lack what all others have";
  if (!isField) return "a code or a flag, which a path cannot tell: seen, and not counted as an error";
  if (!isClear) return "too few answers with it, or they also have what successes have";
  return mayWrite(profile) ? "a write that only looks failed may have changed something" : "another field is plainer";
}

/** Fields that nearly all records of answers have, the call's own arguments left aside: an error repeats those. */
function usualFields(results: readonly unknown[]): string[] {
  const records = results.filter(isRecord);
  const counts = new Map<string, number>();
  for (const record of records) for (const name of Object.keys(record)) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].filter(([, count]) => count >= USUAL_SHARE * records.length).map(([name]) => name);
}

function isSaying(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false && value !== "" && !(Array.isArray(value) && value.length === 0);
}

function isErrorCode(value: unknown): boolean {
  return typeof value === "number" && value >= 400 && value < 600;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
