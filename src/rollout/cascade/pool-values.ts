import { isScalar, type EntityView } from "../../trajectory/entities.ts";
import type { Tape, TapeEntry } from "../../trajectory/tape.ts";

/** Every value that entries show of an entity, as text. */
export function valuesByEntity(entries: readonly { views: ReadonlyMap<string, EntityView> }[]): ReadonlyMap<string, ReadonlySet<string>> {
  const values = new Map<string, Set<string>>();
  for (const { views } of entries) {
    for (const [entity, view] of views) {
      const shown = values.get(entity) ?? new Set();
      values.set(entity, shown);
      for (const value of view.values()) shown.add(String(value));
    }
  }
  return values;
}

/** Share of a shape's ids that were shown above which a drawn one is no new one. */
const MAX_SHOWN_SHARE = 0.01;

/** Whether so many values of an id's shape were shown that a drawn one may well be somebody's. */
export function crowds(shown: ReadonlySet<string>): (id: string | number) => boolean {
  // The shape that `seededLike` keeps: what is before the first digit, and the length.
  const shapeOf = (id: string): string => `${prefixOf(id)}|${id.length}`;
  const counts = new Map<string, number>();
  for (const value of shown) counts.set(shapeOf(value), (counts.get(shapeOf(value)) ?? 0) + 1);
  return (id) => {
    const text = String(id);
    const digits = text.slice(text.search(/\d/)).replace(/[^0-9a-fA-F]/g, "").length;
    return (counts.get(shapeOf(text)) ?? 0) > MAX_SHOWN_SHARE * 10 ** digits;
  };
}

function prefixOf(id: string): string {
  return id.slice(0, Math.max(0, id.search(/\d/)));
}

/** Different ids of one name before their common length is no accident. */
const MIN_IDS = 5;

/**
 * The length that all ids shown under a name, with the same beginning, were made to have: padded with zeros, or more than a number. Null where none is known; a
 * counter gets longer some day.
 */
export function fixedLengths(shown: ReadonlyMap<string, ReadonlySet<string>>): (name: string, id: string | number) => number | null {
  const known = new Map<string, number | null>();
  return (name, id) => {
    const prefix = prefixOf(String(id));
    const key = `${name}|${prefix}`;
    const found = known.get(key);
    if (found !== undefined) return found;
    const length = fixedLength([...(shown.get(name) ?? [])].filter((value) => prefixOf(value) === prefix));
    known.set(key, length);
    return length;
  };
}

function fixedLength(ids: readonly string[]): number | null {
  const [first] = ids;
  if (first === undefined || ids.length < MIN_IDS || ids.some(({ length }) => length !== first.length)) return null;
  const rests = ids.map((id) => id.slice(prefixOf(id).length));
  return rests.some((rest) => /^0|\D/.test(rest)) ? first.length : null;
}

/** Conversations in which a value was given at a key path that the agent had come up with itself, by tool and path and how it ended. */
export function unheardCalls(tapes: readonly Tape[]): ReadonlyMap<string, { succeeded: number; failed: number }> {
  const seen = new Map<string, { succeeded: Set<string>; failed: Set<string> }>();
  for (const { entries, conversationId } of tapes) {
    for (const { tool, unheard, isError } of entries) {
      for (const path of unheard) {
        const key = `${tool}|${path}`;
        const ended = seen.get(key) ?? { succeeded: new Set(), failed: new Set() };
        seen.set(key, ended);
        (isError ? ended.failed : ended.succeeded).add(conversationId);
      }
    }
  }
  return new Map([...seen].map(([key, { succeeded, failed }]) => [key, { succeeded: succeeded.size, failed: failed.size }]));
}

export interface KnownValues {
  /** By name. */
  values: ReadonlyMap<string, ReadonlySet<string>>;
  entities: ReadonlySet<string>;
  all: ReadonlySet<string>;
}

/** What successful calls named. */
export function knownKeys(all: readonly { entry: TapeEntry; args: unknown; parsed: unknown }[]): KnownValues {
  const values = new Map<string, Set<string>>();
  const shown = new Set<string>();
  const entities = new Set<string>();
  const collect = (node: unknown, depth: number): void => {
    if (node === null || typeof node !== "object" || depth > 16) return;
    for (const [name, value] of Object.entries(node)) {
      if (isScalar(value)) shown.add(String(value));
      if (!isScalar(value)) collect(value, depth + 1);
      else if (!values.get(name)?.add(String(value))) values.set(name, new Set([String(value)]));
    }
  };
  for (const { entry, args, parsed } of all) {
    if (entry.isError) continue;
    collect(args, 0);
    collect(parsed, 0);
    for (const entity of entry.entitiesTouched) entities.add(entity);
  }
  return { values, entities, all: shown };
}
