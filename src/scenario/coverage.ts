import { valueAtPath, withoutPaths } from "../trajectory/canonical-arguments.ts";
import type { Tape, TapeEntry } from "../trajectory/tape.ts";
import { profileOf, type ArgumentRole, type ToolProfiles } from "../trajectory/tool-profile.ts";

/** Share of another run's calls that one tape answers, measured on stateful worlds: what is expected where there is nothing to measure on. */
const ONE_TAPE = 0.51;
/** Other tapes that are looked at, at most, in the order of their ids. */
const MAX_TAPES = 32;

/**
 * How much of a replay its tapes will answer, from 0 to 1. Leave one out: every other tape of the same task stands for what a policy may do differently, and
 *
 *     C = 1/|T| · Σ over t in T of |{ calls of t that are answered without t }| / |calls of t|
 *
 * A call of t is answered when its tool is constant and on any tape left; when a tape left holds the same call in the same entity versions; or when `own` holds a call
 * of the same shape after writes of the same shapes. Shapes leave out clocks, nonces and free text and name keys by their order of first use, because another customer's
 * order is to t what this customer's is to `own`. A tape without calls counts as answered. Without other tapes C is 1 for a tape whose calls are all constant (or that
 * has none), and counts the others at 0.51, the measured share. Pure.
 */
export function predictedCoverage(own: Tape | undefined, others: readonly Tape[], profiles: ToolProfiles): number {
  const compared = [...others].sort((a, b) => (a.id < b.id ? -1 : 1)).slice(0, MAX_TAPES);
  const shapes = new Set(shapesOf(own?.entries ?? [], profiles));
  const isConstant = ({ tool }: TapeEntry): boolean => profileOf(profiles, tool).cls === "constant";
  if (compared.length === 0) return mean((own?.entries ?? []).map((entry) => (isConstant(entry) ? 1 : ONE_TAPE)));
  return mean(
    compared.map((left) => {
      const rest = [...(own === undefined ? [] : [own]), ...compared].filter((tape) => tape !== left).flatMap(({ entries }) => entries);
      const tools = new Set(rest.map(({ tool }) => tool));
      const calls = new Set(rest.map(exactOf));
      const leftShapes = shapesOf(left.entries, profiles);
      return mean(
        left.entries.map((entry, at) =>
          (isConstant(entry) && tools.has(entry.tool)) || calls.has(exactOf(entry)) || shapes.has(leftShapes[at] ?? "") ? 1 : 0,
        ),
      );
    }),
  );
}

/** Of nothing: 1. */
function mean(shares: readonly number[]): number {
  return shares.length === 0 ? 1 : shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

function exactOf({ callKey, entityVersion }: TapeEntry): string {
  return JSON.stringify([callKey, Object.entries(entityVersion).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/** Every call as its shape and those of the writes before it. */
function shapesOf(entries: readonly TapeEntry[], profiles: ToolProfiles): string[] {
  const names = new Map<string, number>();
  const writes: string[] = [];
  return entries.map((entry) => {
    const shape = shapeOf(entry, profileOf(profiles, entry.tool).argumentRoles, names);
    const inState = JSON.stringify([shape, writes]);
    if (entry.writeKey !== null) writes.push(shape);
    return inState;
  });
}

const DROPPED: readonly ArgumentRole[] = ["key", "clock", "nonce", "freeText"];

function shapeOf(
  { tool, argumentsCanonical }: TapeEntry,
  roles: Readonly<Record<string, ArgumentRole>>,
  names: Map<string, number>,
): string {
  const args: unknown = JSON.parse(argumentsCanonical);
  const paths = Object.entries(roles).sort(([a], [b]) => (a < b ? -1 : 1));
  const keys = paths.flatMap(([path, role]) => {
    const value = role === "key" ? valueAtPath(args, path) : undefined;
    if (value === undefined) return [];
    const text = JSON.stringify(value) ?? "";
    const name = names.get(text) ?? names.size;
    names.set(text, name);
    return [[path, name]];
  });
  const rest = withoutPaths(
    args,
    paths.flatMap(([path, role]) => (DROPPED.includes(role) ? [path] : [])),
  );
  return JSON.stringify([tool, rest, keys]);
}
