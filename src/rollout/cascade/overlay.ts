import { hash } from "node:crypto";
import type { EntityView } from "../../trajectory/entities.ts";
import { extendPrefix, type WriteEvent } from "../../trajectory/write-state.ts";

/** A write that replay answered and never executed, with what its answer said of each entity. */
export interface OverlayWrite extends WriteEvent {
  tool: string;
  views: ReadonlyMap<string, EntityView>;
  /** Its scalar arguments: what it was to write, as far as its answer does not repeat it. */
  given: EntityView;
  /** Its answer, parsed. */
  answer: unknown;
}

/** The state of one rollout: what was written so far, on top of the world as its scenario found it. Immutable. */
export interface Overlay {
  writes: readonly OverlayWrite[];
  /** Identity of the state: hash of the ordered writes. */
  prefix: string;
  /** Per entity: the latest epoch of the own tape that the rollout was shown (epochs.ts). Part of the state: others wrote. */
  seen: ReadonlyMap<string, number>;
  /** Per entity: what answers of no tape said of it (R5, R6). Part of the state: what comes after them agrees with them. */
  offTape: ReadonlyMap<string, EntityView>;
  /** How often each call was answered from the own tape in each state: the n-th repetition gets the n-th recorded answer. */
  occurrences: ReadonlyMap<string, number>;
}

/** Identity of all that an answer may depend on: the rollout's writes, which changes by others it was shown, and what no tape told it. */
export function stateOf({ prefix, seen, offTape }: Overlay): string {
  const shown = [...seen].filter(([, epoch]) => epoch > 0).toSorted(byName);
  const told = [...offTape].toSorted(byName).map(([entity, view]) => [entity, [...view].toSorted(byName)]);
  const state = shown.length === 0 ? prefix : `${prefix}|${JSON.stringify(shown)}`;
  return told.length === 0 ? state : `${state}|${hash("sha256", JSON.stringify(told))}`;
}

function byName([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : 1;
}

export function emptyOverlay(): Overlay {
  return { writes: [], prefix: "", seen: new Map(), offTape: new Map(), occurrences: new Map() };
}

/** The overlay after a successful write. */
export function withWrite(overlay: Overlay, write: OverlayWrite): Overlay {
  return { ...overlay, writes: [...overlay.writes, write], prefix: extendPrefix(overlay.prefix, write) };
}

/** The overlay after a read that no tape answered. */
export function withOffTape(overlay: Overlay, views: ReadonlyMap<string, EntityView>): Overlay {
  const offTape = new Map(overlay.offTape);
  for (const [entity, view] of views) offTape.set(entity, new Map([...(offTape.get(entity) ?? []), ...view]));
  return { ...overlay, offTape };
}

/** The overlay after one more answer under each of `keys`. */
export function withOccurrence(overlay: Overlay, keys: readonly string[]): Overlay {
  const occurrences = new Map(overlay.occurrences);
  for (const key of keys) occurrences.set(key, (occurrences.get(key) ?? 0) + 1);
  return { ...overlay, occurrences };
}

/** The overlay after an answer of the own tape that showed its entities at these epochs. */
export function withEpochs(overlay: Overlay, epochs: Readonly<Record<string, number>>): Overlay {
  const seen = new Map(overlay.seen);
  for (const [entity, epoch] of Object.entries(epochs)) seen.set(entity, Math.max(epoch, seen.get(entity) ?? 0));
  return { ...overlay, seen };
}
