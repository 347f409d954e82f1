import { isScalar, viewsOf } from "../../trajectory/entities.ts";
import { showsError } from "../../trajectory/record-tape.ts";
import { PSEUDONYM } from "../../trace/pseudonym.ts";
import type { Outcome } from "../cascade/outcome.ts";
import type { PreparedCall } from "../cascade/prepare.ts";
import { knownView, mergedViews, type Situation } from "../cascade/situation.ts";
import type { TapePool } from "../cascade/tape-pool.ts";
import { keyNamesOf, leavesOf, type Known, type NewId } from "./known.ts";
import type { ShapeCheck } from "./shape-check.ts";

/** What a simulated answer must keep. */
export interface ResultRules {
  situation: Situation;
  call: PreparedCall;
  outcome: Outcome;
  checkShape: ShapeCheck;
  known: Known;
  newIds: readonly NewId[];
  /** Everything that the simulator was shown: an answer may name people of it and nobody else. */
  shown: string;
}

const MAX_RESULT_CHARS = 16_000;

/**
 * What is wrong with a simulated answer, or null: its form, an outcome that code did not decide, an id that nobody knows, another value than the known one. In
 * words for the model that quote no value, because they are logged.
 */
export function createResultCheck(rules: ResultRules): (result: unknown) => string | null {
  const { pool } = rules.situation;
  const keys = keyNamesOf(pool.profiles);
  const given = new Set([...leavesOf(rules.call.args), ...rules.newIds].map(({ value }) => String(value)));
  const made = new Set(
    rules.situation.overlay.writes.flatMap(({ views }) => [...views.values()].flatMap((view) => [...view.values()].map(String))),
  );
  const isKnownId = (name: string, value: string): boolean => given.has(value) || made.has(value) || pool.knowsKey(name, value);
  return (result) => {
    const misshapen = rules.checkShape(result);
    if (misshapen !== null) return `form: ${misshapen}`;
    const text = JSON.stringify(result);
    if (text.length > MAX_RESULT_CHARS) return `the result is longer than ${MAX_RESULT_CHARS} characters`;
    const failed = showsError(rules.call.profile, result);
    if (failed !== showsOutcome(rules))
      return failed ? "the call succeeds, and the result says that it failed" : "the call fails, and the result does not say so";
    const invented = leavesOf(result).find(
      ({ name, value }) => value !== null && value !== "" && keys.has(name) && !isKnownId(name, String(value)),
    );
    if (invented !== undefined)
      return `${invented.path}: an id that nobody knows; use those of the call, of what is known, or of the new ids`;
    const people = text.match(new RegExp(PSEUDONYM.source, "g")) ?? [];
    if (people.some((name) => !rules.shown.includes(name))) return "the result names somebody who is not in the prompt";
    return otherThanAsked(rules, result) ?? contradiction(rules, result);
  };
}

/**
 * The answer with what is known in place of what the simulator could not know: fields of entities that it was shown nothing of. State is kept by code; a model
 * only words it.
 */
export function withKnownValues({ situation, call, outcome, known }: ResultRules, result: unknown): unknown {
  const isHeld = (name: string): boolean => isStable({ call, outcome }, name);
  const fix = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(fix);
    if (node === null || typeof node !== "object") return node;
    const truth = mergedViews(
      namedBy(node, situation.pool).map((entity) => (known.views.has(entity) ? null : knownView(situation, entity))),
    );
    return Object.fromEntries(
      Object.entries(node).map(([name, value]) => [
        name,
        isScalar(value) && isHeld(name) && truth.has(name) ? truth.get(name) : fix(value),
      ]),
    );
  };
  return fix(result);
}

/** The entities that an object tells of by its own fields. */
function namedBy(node: object, { templates, owners }: Pick<TapePool, "templates" | "owners">): readonly string[] {
  return [...viewsOf(Object.fromEntries(Object.entries(node).filter(([, value]) => isScalar(value))), templates, owners).keys()];
}

/** Whether a known value still holds in the answer: not for fields that differ from call to call, nor for those that the write may change. */
function isStable({ call, outcome }: Pick<ResultRules, "call" | "outcome">, field: string): boolean {
  return !call.profile.volatileResultPaths.includes(field) && (outcome.keeps === null || outcome.keeps.has(field));
}

/** Errors that only a span's status tells of show nothing in their text. */
function showsOutcome({ outcome, call }: ResultRules): boolean {
  return outcome.isError && outcome.examples.some(({ parsed }) => showsError(call.profile, parsed));
}

/** A field that repeated the call's argument in every recorded answer repeats it here. */
function otherThanAsked({ outcome, call }: ResultRules, result: unknown): string | null {
  const asked = fieldsOf(call.args);
  const repeats = [...asked].filter(
    ([name]) =>
      outcome.examples.length > 0 &&
      outcome.examples.every(({ args, parsed }) => fieldsOf(args).has(name) && fieldsOf(parsed).get(name) === fieldsOf(args).get(name)),
  );
  const [wrong] = repeats.filter(([name, value]) => fieldsOf(result).get(name) !== value);
  return wrong === undefined ? null : `${wrong[0]}: it repeats the call's argument of this name`;
}

function contradiction({ situation, call, outcome, known }: ResultRules, result: unknown): string | null {
  for (const [entity, view] of viewsOf(result, situation.pool.templates, situation.pool.owners)) {
    for (const [field, value] of known.views.get(entity) ?? []) {
      if (isStable({ call, outcome }, field) && view.has(field) && view.get(field) !== value)
        return `${field.slice(0, 60)}: something else is known`;
    }
  }
  return null;
}

function fieldsOf(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(
    value === null || typeof value !== "object" || Array.isArray(value)
      ? []
      : Object.entries(value).filter(([, one]) => typeof one !== "object"),
  );
}
