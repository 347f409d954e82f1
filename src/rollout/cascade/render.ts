import { isScalar, type EntityView, type Scalar } from "../../trajectory/entities.ts";
import { parseResult } from "../../trajectory/record-tape.ts";
import { isDrawn, seededLike } from "../seed.ts";
import type { IdForm } from "./id-form.ts";

/** How a recorded answer becomes the answer to another call. */
export interface Rendering {
  /** The recorded answer: text, its parsed form, and the arguments that it answered. */
  recorded: { result: string; parsed: unknown; args: unknown };
  args: unknown;
  /** What was known of the entity there, and what is known of it here: a field that repeats the former is given the latter. */
  views: { recorded: EntityView | null; here: EntityView | null };
  /** Result paths that differ from call to call; ids among them are drawn anew. `*` stands for any key. */
  volatilePaths: readonly string[];
  /** Which ids may be given. Default: any. */
  ids?: NewIds;
  seed: readonly (string | number)[];
}

/** Which ids may be given to something new. */
export interface NewIds {
  /** Something has this id already: none is given twice. */
  isTaken(id: string | number): boolean;
  /** Some unrecorded thing may well have it. */
  isDoubtful(id: string | number): boolean;
  hasForm: IdForm;
}

/**
 * The recorded answer with this call's values in place of the recorded call's, and with new ids at the volatile paths. Keeps the recorded key order
 * and spacing.
 */
export function renderLike(rendering: Rendering): string {
  const { recorded } = rendering;
  const values = replacements(recorded.args, rendering.args);
  if (recorded.parsed === recorded.result) return replaceInText(recorded.result, values);
  return formatLike(
    recorded.result,
    recorded.parsed,
    mapLeaves(recorded.parsed, [], (leaf, path) => renderLeaf(rendering, values, leaf, path)),
  );
}

/** The ids that were drawn for an answer: what it has at the volatile paths, but for times and words. */
export function drawnIds(result: string, volatilePaths: readonly string[]): readonly (string | number)[] {
  const ids: (string | number)[] = [];
  mapLeaves(parseResult(result), [], (leaf, path) => {
    const isVolatile = volatilePaths.some((pattern) => matchesPath(pattern, path));
    if (isVolatile && (typeof leaf === "string" || typeof leaf === "number") && isDrawn(leaf)) ids.push(leaf);
    return leaf;
  });
  return ids;
}

/** JSON of `value` in the style of the recorded text: compact, or with Python's spaces after colons and commas. */
export function formatLike(recorded: string, parsed: unknown, value: unknown): string {
  return recorded !== JSON.stringify(parsed) && recorded === spaced(parsed) ? spaced(value) : JSON.stringify(value);
}

function renderLeaf(rendering: Rendering, values: ReadonlyMap<Scalar, Scalar>, leaf: unknown, path: readonly string[]): unknown {
  if (!isScalar(leaf)) return leaf;
  const name = path.at(-1) ?? "";
  if (rendering.volatilePaths.some((pattern) => matchesPath(pattern, path)) && (typeof leaf === "string" || typeof leaf === "number")) {
    return drawnId(leaf, rendering, path.join("."));
  }
  const repeated = repeatedArgument(rendering, name, leaf);
  if (repeated !== undefined) return repeated;
  if (values.has(leaf)) return values.get(leaf);
  const { recorded, here } = rendering.views;
  const known = here?.get(name);
  if (known !== undefined && recorded?.get(name) === leaf) return known;
  return typeof leaf === "string" ? replaceInText(leaf, values) : leaf;
}

/** This call's argument, where the recorded answer repeated the recorded call's under the same name. */
function repeatedArgument({ recorded, args }: Rendering, name: string, leaf: Scalar): Scalar | undefined {
  if (!isRecord(recorded.args) || !isRecord(args) || !Object.hasOwn(recorded.args, name) || !Object.hasOwn(args, name)) return undefined;
  const given = args[name];
  return recorded.args[name] === leaf && isScalar(given) ? given : undefined;
}

/** Draws of one id of each length, and in all. */
const DRAWS_EACH = 10;
const MAX_DRAWS = 50;

/** An id that nothing has, in the form that such ids have; where none is surely new, one that somebody unrecorded may have. */
function drawnId(example: string | number, { seed, ids }: Rendering, path: string): string | number {
  const first = seededLike(example, ...seed, path);
  // A time, or a word: there is no other like it.
  if (ids === undefined || !isDrawn(example)) return first;
  const name = path.split(".").at(-1) ?? path;
  let doubtful: string | number | undefined;
  let drawn = first;
  for (let draw = 1; draw < MAX_DRAWS; draw += 1) {
    const isFree = !ids.isTaken(drawn) && ids.hasForm(name, example, drawn);
    if (isFree && !ids.isDoubtful(drawn)) return drawn;
    if (isFree) doubtful ??= drawn;
    // Where all of this length are taken, the next is longer.
    const longer = Math.floor(draw / DRAWS_EACH);
    const shape = typeof example === "number" ? example * 10 ** longer : `${example}${"0".repeat(longer)}`;
    drawn = seededLike(shape, ...seed, path, draw);
  }
  return doubtful ?? first;
}

/** Recorded argument value → this call's, for scalar arguments of the same name. */
function replacements(recorded: unknown, here: unknown): ReadonlyMap<Scalar, Scalar> {
  const values = new Map<Scalar, Scalar>();
  if (!isRecord(recorded) || !isRecord(here)) return values;
  for (const [name, before] of Object.entries(recorded)) {
    const after = Object.hasOwn(here, name) ? here[name] : undefined;
    // Booleans and small numbers occur in answers by chance.
    const telling = (typeof before === "string" && before !== "") || (typeof before === "number" && Math.abs(before) >= 100);
    if (telling && isScalar(after)) values.set(before, after);
  }
  return values;
}

function replaceInText(text: string, values: ReadonlyMap<Scalar, Scalar>): string {
  const found = [...values.keys()].map(String).filter((value) => value.length >= 2 && text.includes(value));
  if (found.length === 0) return text;
  const byText = new Map([...values].map(([before, after]) => [String(before), String(after)]));
  const pattern = found
    .sort((a, b) => b.length - a.length)
    .map((value) => value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))
    .join("|");
  return text.replace(new RegExp(`(?<![A-Za-z0-9])(?:${pattern})(?![A-Za-z0-9])`, "g"), (match) => byText.get(match) ?? match);
}

function mapLeaves(node: unknown, path: readonly string[], map: (leaf: unknown, path: readonly string[]) => unknown): unknown {
  if (path.length > 32 || !isRecordOrArray(node)) return map(node, path);
  if (Array.isArray(node)) return node.map((item: unknown, index) => mapLeaves(item, [...path, String(index)], map));
  return Object.fromEntries(Object.entries(node).map(([name, item]) => [name, mapLeaves(item, [...path, name], map)]));
}

function matchesPath(pattern: string, path: readonly string[]): boolean {
  const parts = pattern.split(".");
  return parts.length === path.length && parts.every((part, index) => part === "*" || part === path[index]);
}

function spaced(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (!isRecord(value)) return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([name, item]) => `${JSON.stringify(name)}: ${spaced(item)}`)
    .join(", ")}}`;
}

function isRecordOrArray(value: unknown): value is object {
  return value !== null && typeof value === "object";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return isRecordOrArray(value) && !Array.isArray(value);
}
