import { hash } from "node:crypto";
import { EVERYTHING } from "./entities.ts";

/** One successful write: all that replay keeps of the world's state is the ordered list of these. */
export interface WriteEvent {
  writeKey: string;
  entities: readonly string[];
}

/** Hash of the ordered writes: the identity of the whole state, from one starting point. */
export function prefixOf(writes: readonly WriteEvent[]): string {
  return writes.reduce(extendPrefix, "");
}

/** `prefixOf([...writes, write])`, given `prefixOf(writes)`. */
export function extendPrefix(prefix: string, write: WriteEvent): string {
  return hash("sha256", `${prefix}|${write.writeKey}`).slice(0, 32);
}

/** Hash of the ordered writes that touched `entity`; empty when none did. */
export function versionOf(writes: readonly WriteEvent[], entity: string): string {
  return prefixOf(writes.filter((write) => touches(write, entity)));
}

/** How many of the writes touched `entity`. */
export function countOf(writes: readonly WriteEvent[], entity: string): number {
  return writes.filter((write) => touches(write, entity)).length;
}

function touches(write: WriteEvent, entity: string): boolean {
  return entity === EVERYTHING || write.entities.includes(entity) || write.entities.includes(EVERYTHING);
}
