import { EVERYTHING } from "./entities.ts";
import type { Tape, TapeEntry } from "./tape.ts";
import { createWriteLog } from "./write-state.ts";

/** Nobody can say how many writes came before: one overlapped. Equal to no era, not even to itself. */
export const UNKNOWN_ERA = -1;

/** Counts recorded successful writes by entity and time, over all tapes of one tenant. */
export interface EraIndex {
  /**
   * Writes of other tapes than `exceptTape` to `entity` that had ended by `fromMs`; `UNKNOWN_ERA` when another one was under way between `fromMs`
   * and `toMs`.
   */
  before(entity: string, span: { fromMs: number; toMs: number }, exceptTape: string): number;
}

/** Index over the tapes of one tenant, whatever their split: eras count writes, they show no content. */
export function createEraIndex(tapes: readonly Tape[]): EraIndex {
  const all = windowsOf(tapes);
  const wide = all.filter((window) => window.entities.includes(EVERYTHING));
  const narrow = new Map<string, Window[]>();
  for (const window of all) {
    if (window.entities.includes(EVERYTHING)) continue;
    for (const entity of window.entities) {
      const windows = narrow.get(entity) ?? [];
      windows.push(window);
      narrow.set(entity, windows);
    }
  }
  const timelines = new Map([...narrow].map(([entity, windows]) => [entity, timelineOf([...windows, ...wide])]));
  const everything = timelineOf(all);
  const unnamed = timelineOf(wide);
  return {
    before(entity, span, exceptTape) {
      const timeline = entity === EVERYTHING ? everything : (timelines.get(entity) ?? unnamed);
      const own = timeline.byTape.get(exceptTape);
      const ended = below(timeline.ends, span.fromMs, true) - below(own?.ends ?? [], span.fromMs, true);
      const started = below(timeline.starts, span.toMs, false) - below(own?.starts ?? [], span.toMs, false);
      return ended === started ? ended : UNKNOWN_ERA;
    },
  };
}

/** The tapes with `entityEra` filled in, counted over all of them and the tenant's `others`. Tenants do not mix. */
export function withEras(tapes: readonly Tape[], others: readonly Tape[] = []): Tape[] {
  const byTenant = Map.groupBy([...tapes, ...others], (tape) => tape.tenant);
  const indices = new Map([...byTenant].map(([tenant, own]) => [tenant, createEraIndex(own)]));
  return tapes.map((tape) => {
    const index = indices.get(tape.tenant);
    const writes = createWriteLog();
    const entries = tape.entries.map((entry) => {
      const span = { fromMs: entry.startedAtMs, toMs: entry.startedAtMs + entry.latencyMs };
      const eraOf = (entity: string): number => {
        const foreign = index?.before(entity, span, tape.id) ?? 0;
        return foreign === UNKNOWN_ERA ? UNKNOWN_ERA : foreign + writes.countOf(entity);
      };
      const withEra = { ...entry, entityEra: Object.fromEntries(entry.entitiesTouched.map((entity) => [entity, eraOf(entity)])) };
      if (entry.writeKey !== null) writes.add({ writeKey: entry.writeKey, entities: entry.entitiesTouched });
      return withEra;
    });
    return { ...tape, entries };
  });
}

/** One recorded write, and every tape that holds it: the branches of a conversation share what they have in common. */
interface Window {
  tapes: Set<string>;
  entities: readonly string[];
  startMs: number;
  endMs: number;
}

/** Ascending. */
interface Times {
  starts: readonly number[];
  ends: readonly number[];
}

interface Timeline extends Times {
  byTape: ReadonlyMap<string, Times>;
}

function windowsOf(tapes: readonly Tape[]): readonly Window[] {
  const windows = new Map<string, Window>();
  for (const tape of tapes) {
    for (const entry of tape.entries) {
      if (entry.writeKey === null) continue;
      const known = windows.get(identityOf(entry));
      if (known === undefined) windows.set(identityOf(entry), windowOf(tape, entry));
      else known.tapes.add(tape.id);
    }
  }
  return [...windows.values()];
}

/** One execution of a tool: its span, and its place for those that have none of their own. */
function identityOf({ traceId, spanId, turn, parallelIndex, writeKey }: TapeEntry): string {
  return JSON.stringify([traceId, spanId, turn, parallelIndex, writeKey]);
}

function windowOf(tape: Tape, entry: TapeEntry): Window {
  const endMs = entry.startedAtMs + entry.latencyMs;
  return { tapes: new Set([tape.id]), entities: entry.entitiesTouched, startMs: entry.startedAtMs, endMs };
}

function timelineOf(windows: readonly Window[]): Timeline {
  return { ...timesOf(windows), byTape: new Map([...byTapeOf(windows)].map(([tape, own]) => [tape, timesOf(own)])) };
}

function timesOf(windows: readonly Window[]): Times {
  return {
    starts: windows.map((window) => window.startMs).sort((a, b) => a - b),
    ends: windows.map((window) => window.endMs).sort((a, b) => a - b),
  };
}

function byTapeOf(windows: readonly Window[]): ReadonlyMap<string, readonly Window[]> {
  const byTape = new Map<string, Window[]>();
  for (const window of windows) {
    for (const tape of window.tapes) {
      const own = byTape.get(tape);
      if (own === undefined) byTape.set(tape, [window]);
      else own.push(window);
    }
  }
  return byTape;
}

/** How many of the ascending numbers are below `limit`, or equal where `inclusive`. Binary search. */
function below(sorted: readonly number[], limit: number, inclusive: boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const value = sorted[middle] as number;
    if (value < limit || (inclusive && value === limit)) low = middle + 1;
    else high = middle;
  }
  return low;
}
