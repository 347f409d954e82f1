import type { Scalar } from "../entities.ts";
import { isScalar } from "../entities.ts";
import { parseResult } from "../record-tape.ts";
import type { Tape, TapeEntry } from "../tape.ts";
import { eachLeaf, fieldOf } from "./leaves.ts";

/** Argument paths of one tool that are looked at; more than this is a map, whose keys are data. */
const MAX_PATHS = 64;
/** Characters of answers that are no JSON in which values are looked for, per conversation. */
const MAX_TOLD = 100_000;
/** Places that are remembered of one value. */
const MAX_PLACES = 32;

/** One recorded call, parsed once. */
export interface Seen {
  tape: Tape;
  entry: TapeEntry;
  /** Its place on the tape. */
  index: number;
  args: unknown;
  result: unknown;
}

/** What one argument path of a tool held, call by call. */
export interface ArgumentSamples {
  path: string;
  /** Scalars, in the order of the calls. */
  given: { value: Scalar; seen: Seen; /** The agent had it from what it was told or answered before. */ wasTold: boolean }[];
  /** Calls in which it was a list. */
  lists: number;
}

export interface ToolSamples {
  tool: string;
  seen: readonly Seen[];
  arguments: ReadonlyMap<string, ArgumentSamples>;
}

/** Where a value that was ever an argument occurs. */
export interface ValuePlaces {
  /** `tool\npath` of arguments, and of successful answers. */
  arguments: Set<string>;
  results: Set<string>;
  /** When an answer first showed it; null where none did. */
  shownAtMs: number | null;
}

/** All calls by tool, and where the values of arguments occur. */
export interface Samples {
  tools: ReadonlyMap<string, ToolSamples>;
  /** All calls by conversation, in order. */
  conversations: readonly (readonly Seen[])[];
  placesOf(value: Scalar): ValuePlaces | undefined;
}

/** What an agent was told in a conversation, by tape: texts of its system and user messages. */
export type ToldTexts = ReadonlyMap<string, string>;

/** Collects what the learners look at, in two passes over the tapes: linear in the bytes of arguments and answers. */
export function collectSamples(tapes: readonly Tape[], told: ToldTexts): Samples {
  const calls = tapes.map((tape) => tape.entries.map((entry, index): Seen => seenOf(tape, entry, index)));
  const places = new Map<string, ValuePlaces>();
  for (const seen of calls.flat()) {
    eachLeaf(seen.args, (path, value) => {
      const at = places.get(keyOf(value)) ?? { arguments: new Set(), results: new Set(), shownAtMs: null };
      if (at.arguments.size < MAX_PLACES) at.arguments.add(`${seen.entry.tool}\n${path}`);
      places.set(keyOf(value), at);
    });
  }
  const tools = new Map<string, { tool: string; seen: Seen[]; arguments: Map<string, ArgumentSamples> }>();
  for (const conversation of calls) {
    const known = new Set<string>();
    let text = told.get(conversation[0]?.tape.id ?? "") ?? "";
    for (const seen of conversation) {
      const own = tools.get(seen.entry.tool) ?? { tool: seen.entry.tool, seen: [], arguments: new Map<string, ArgumentSamples>() };
      tools.set(seen.entry.tool, own);
      own.seen.push(seen);
      const before = text;
      addArguments(own.arguments, seen, (value) => known.has(keyOf(value)) || before.includes(String(value)));
      addResults(seen, places, known);
      if (typeof seen.result === "string" && text.length < MAX_TOLD) text += `\n${seen.result}`;
    }
  }
  return { tools, conversations: calls, placesOf: (value) => places.get(keyOf(value)) };
}

function seenOf(tape: Tape, entry: TapeEntry, index: number): Seen {
  return { tape, entry, index, args: parseResult(entry.argumentsCanonical), result: parseResult(entry.result) };
}

function addArguments(all: Map<string, ArgumentSamples>, seen: Seen, wasTold: (value: Scalar) => boolean): void {
  const walk = (node: unknown, path: string, depth: number): void => {
    if (isScalar(node) || Array.isArray(node)) {
      const samples = all.get(path) ?? { path, given: [], lists: 0 };
      if (!all.has(path) && all.size >= MAX_PATHS) return;
      all.set(path, samples);
      if (isScalar(node)) samples.given.push({ value: node, seen, wasTold: wasTold(node) });
      else samples.lists += 1;
      return;
    }
    if (node === null || typeof node !== "object" || depth > 4) return;
    for (const [name, item] of Object.entries(node)) {
      if (/^[^.*]+$/.test(name)) walk(item, path === "" ? name : `${path}.${name}`, depth + 1);
    }
  };
  // Text that is no JSON has no paths.
  if (seen.args !== null && typeof seen.args === "object" && !Array.isArray(seen.args)) walk(seen.args, "", 0);
}

function addResults(seen: Seen, places: Map<string, ValuePlaces>, known: Set<string>): void {
  if (seen.entry.isError) return;
  eachLeaf(seen.result, (path, value) => {
    const at = places.get(keyOf(value));
    if (at === undefined) return;
    known.add(keyOf(value));
    at.shownAtMs = Math.min(at.shownAtMs ?? Number.POSITIVE_INFINITY, seen.entry.startedAtMs);
    if (at.results.size < MAX_PLACES) at.results.add(`${seen.entry.tool}\n${path}`);
  });
}

/** The tool and the field of a place. */
export function placeOf(place: string): { tool: string; field: string } {
  const [tool = "", path = ""] = place.split("\n");
  return { tool, field: fieldOf(path) };
}

/** "7" and 7 are one value: what one tool answers as a number another takes as text. */
function keyOf(value: Scalar): string {
  return String(value);
}
