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

/** The writes of one tape so far. Answers as `prefixOf`, `versionOf` and `countOf` do, without going through all of them again. */
export interface WriteLog {
  add(write: WriteEvent): void;
  prefix(): string;
  versionOf(entity: string): string;
  countOf(entity: string): number;
}

export function createWriteLog(): WriteLog {
  const none = { version: "", count: 0 };
  let all = none;
  /** Writes to everything alone: what an entity has that no write named. */
  let wide = none;
  const named = new Map<string, typeof none>();
  const extended = (log: typeof none, write: WriteEvent) => ({ version: extendPrefix(log.version, write), count: log.count + 1 });
  const logOf = (entity: string) => (entity === EVERYTHING ? all : (named.get(entity) ?? wide));
  return {
    add(write) {
      if (write.entities.includes(EVERYTHING)) {
        for (const [entity, log] of named) named.set(entity, extended(log, write));
        wide = extended(wide, write);
      } else for (const entity of new Set(write.entities)) named.set(entity, extended(logOf(entity), write));
      all = extended(all, write);
    },
    prefix: () => all.version,
    versionOf: (entity) => logOf(entity).version,
    countOf: (entity) => logOf(entity).count,
  };
}
