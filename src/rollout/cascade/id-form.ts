import { plausibleNames } from "../../trajectory/profiles/values.ts";
import type { Situation } from "./situation.ts";

/** Whether a made-up id may look so, in the place of a recorded one under this name. */
export type IdForm = (name: string, recorded: string | number, id: string | number) => boolean;

type Constraint = Readonly<Record<string, unknown>>;

/**
 * The form of made-up ids: what the scenario's tools say of the arguments that such an id may be handed to, as far as the recorded one keeps to it, or an agent
 * would be blamed for what it was given; and the length that all ids on tapes were made to have.
 */
export function idForm({ pool, start }: Situation): IdForm {
  const known = new Map<string, readonly Constraint[]>();
  return (name, recorded, id) => {
    const constraints = known.get(name) ?? constraintsOn(start.tools, name);
    known.set(name, constraints);
    const length = pool.idLength(name, recorded);
    if (length !== null && String(id).length !== length) return false;
    return constraints.every((constraint) => !keeps(constraint, recorded, recorded) || keeps(constraint, id, recorded));
  };
}

function constraintsOn(tools: Situation["start"]["tools"], name: string): readonly Constraint[] {
  return tools.flatMap(({ parameters }) => {
    const properties = parameters?.["properties"];
    if (!isRecord(properties)) return [];
    return Object.entries(properties).flatMap(([argument, schema]) => (isRecord(schema) && plausibleNames(argument, name) ? [schema] : []));
  });
}

/** Whether a value keeps to a schema. Of a pattern that is not tried, nothing but the recorded id's length is known to be right. */
function keeps({ minLength, maxLength, minimum, maximum, pattern }: Constraint, id: string | number, recorded: string | number): boolean {
  const text = String(id);
  const within = (value: number, least: unknown, most: unknown): boolean =>
    !(typeof least === "number" && value < least) && !(typeof most === "number" && value > most);
  if (!within(text.length, minLength, maxLength)) return false;
  if (typeof id === "number" && !within(id, minimum, maximum)) return false;
  if (typeof pattern !== "string") return true;
  return simplePattern(pattern)?.test(text) ?? text.length === String(recorded).length;
}

const MAX_PATTERN = 200;
/** Parts of a pattern that may match more or less: each multiplies what a failed match costs. */
const MAX_VARIABLE = 3;
/** Characters, classes and escapes, each with a count; no groups, alternatives or references. */
const SIMPLE =
  /^\^?(?:(?:\\[dw./+*?()[\]{}|^$-]|\[\^?(?:\\[dw./+*?()[\]{}|^$-]|[^\]\\])+\]|[^\\[\](){}|^$.*+?])(?:\{\d{1,2}(?:,\d{0,2})?\}|[*+?])?)*\$?$/;

/** A pattern that is quickly tried, whatever it is tried on; null for any other: it comes from telemetry, and may take for ever. */
function simplePattern(pattern: string): RegExp | null {
  const variable = pattern.match(/\{\d{1,2},\d{0,2}\}|[*+?]/g)?.length ?? 0;
  if (pattern.length > MAX_PATTERN || variable > MAX_VARIABLE || !SIMPLE.test(pattern)) return null;
  try {
    return new RegExp(pattern, "u");
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
