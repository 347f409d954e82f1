import { valueAtPath } from "../../trajectory/canonical-arguments.ts";
import { isScalar, type EntityView, type Scalar } from "../../trajectory/entities.ts";
import type { ToolProfile } from "../../trajectory/tool-profile.ts";
import { BESIDE, type Features } from "./refusals.ts";

/** What was known of a write when it was made. */
export interface Known {
  args: unknown;
  /** This tool had already written one of the entities. */
  again: boolean;
  /** Per entity template of the tool: what was known of the entity. */
  views: readonly (EntityView | null)[];
  /** The same as far as it was known since the last write to anything else: what is counted elsewhere may have changed since. */
  fresh: readonly (EntityView | null)[];
  /** Per entity template: whether a look at the entity had found it; null where nobody had looked. */
  found: readonly (boolean | null)[];
}

/** Longer texts are content, no state. */
const MAX_TEXT = 40;

/** Names of a tool's arguments that may decide an outcome: neither wording nor noise. */
export function decidingArguments({ argumentRoles }: Pick<ToolProfile, "argumentRoles">, all: readonly unknown[]): readonly string[] {
  const names = new Set(all.flatMap((args) => (args !== null && typeof args === "object" ? Object.keys(args) : [])));
  return [...names].filter((name) => !["freeText", "clock", "nonce"].includes(argumentRoles[name] ?? "")).sort();
}

/** The features that are an argument alone. */
export function argumentFeatures(name: string): readonly string[] {
  return [`given ${name}`, `has ${name}`];
}

/**
 * The facts by which outcomes are told apart: whether it is done again, each field of each entity, each argument (null where it was left out), each
 * short field beside each argument, and how field and argument compare.
 */
export function featuresOf({ args, again, views, fresh, found }: Known, names: readonly string[]): Features {
  const features = new Map<string, Scalar>([["again", again]]);
  const given = names.flatMap((name): [string, Scalar][] => {
    const value = valueAtPath(args, name) ?? null;
    return isScalar(value) ? [[name, value]] : [];
  });
  for (const [name, value] of given) {
    features.set(`given ${name}`, value);
    features.set(`has ${name}`, value !== null);
  }
  for (const [place, isThere] of found.entries()) {
    if (isThere === null) continue;
    features.set(`${place} found`, isThere);
    for (const [name, value] of given) features.set(`${place} found${BESIDE}has ${name}`, `${isThere}${BESIDE}${value !== null}`);
  }
  for (const [place, view] of views.entries()) {
    for (const [field, value] of view ?? []) {
      features.set(`${place}.${field}`, value);
      for (const [name, argument] of given) addBoth(features, { field: `${place}.${field}`, value }, { name, argument });
    }
  }
  for (const [place, view] of fresh.entries()) {
    for (const [field, value] of view ?? []) features.set(`${place}.${field} fresh`, value);
  }
  return features;
}

/** Whether looks had found all things that the call names, or missed one; null where nobody had looked. */
export function wasFound(features: Features): boolean | null {
  const looks = [...features].filter(([name]) => name.endsWith(" found")).map(([, value]) => value);
  return looks.includes(false) ? false : looks.length > 0 ? true : null;
}

function addBoth(
  features: Map<string, Scalar>,
  { field, value }: { field: string; value: Scalar },
  { name, argument }: { name: string; argument: Scalar },
): void {
  if (isShort(value) && isShort(argument)) features.set(`${field}${BESIDE}${name}`, `${value}${BESIDE}${argument}`);
  if (value === null || typeof value === "boolean" || (argument !== null && typeof value !== typeof argument)) return;
  features.set(`${field} as ${name}`, value === argument);
  if (typeof value === "number" && argument !== null) features.set(`${field} against ${name}`, Math.sign(value - Number(argument)));
}

function isShort(value: Scalar): boolean {
  return typeof value === "boolean" || (typeof value === "string" && value.length <= MAX_TEXT);
}
