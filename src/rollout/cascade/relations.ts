import { isScalar } from "../../trajectory/entities.ts";
import { profileOf } from "../../trajectory/tool-profile.ts";
import type { Overlay } from "./overlay.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** A call and what it named. */
export interface Made {
  tool: string;
  args: unknown;
  entities: readonly string[];
}

/** A read, and a write to something else. */
export interface Pair {
  read: Made;
  write: Made;
}

/** Where it is looked up what is shown of things: on tapes, and for a rollout in what it made and was told itself. */
export interface Shown {
  pool: TapePool;
  overlay?: Pick<Overlay, "writes" | "offTape">;
}

/** Whether anything shows the one's thing to name the other's. */
export function isRelated(shown: Shown, { read, write }: Pair): boolean {
  return names(shown, read, write) || names(shown, write, read);
}

export function madeOf({ entry, args }: PooledEntry): Made {
  return { tool: entry.tool, args, entities: entry.entitiesTouched };
}

/** What a tape wrote before one of its entries and that the world of a rollout which began at `startMs` had not: it had not ended then. */
export function writtenSince({ pool }: Shown, { tape, index }: PooledEntry, startMs: number): readonly PooledEntry[] {
  return pool
    .ofTape(tape.id)
    .slice(0, index)
    .filter(({ entry }) => entry.writeKey !== null && entry.startedAtMs + entry.latencyMs > startMs);
}

/** A write of this rollout. */
export function madeHere({ tool, given, entities }: Overlay["writes"][number]): Made {
  return { tool, args: Object.fromEntries(given), entities };
}

/** Whether something that one call named is shown somewhere with a key of the other. */
function names(shown: Shown, one: Made, { tool, args }: Made): boolean {
  const { argumentRoles } = profileOf(shown.pool.profiles, tool);
  const given = Object.entries(args !== null && typeof args === "object" ? args : {});
  const keys = given.flatMap(([name, value]) => (argumentRoles[name] === "key" && isScalar(value) ? [String(value)] : []));
  return one.entities.some((entity) => keys.some((key) => shows(shown, entity, key)));
}

function shows({ pool, overlay }: Shown, entity: string, value: string): boolean {
  if (pool.shownOf(entity).has(value)) return true;
  if (overlay === undefined) return false;
  const says = (view: Iterable<readonly [string, unknown]>): boolean => [...view].some(([, said]) => String(said) === value);
  // What the rollout made itself no tape shows: its answer, and what it was given, do.
  const isWritten = overlay.writes.some(
    ({ entities, views, given }) => says(views.get(entity) ?? []) || (entities.includes(entity) && says(given)),
  );
  return isWritten || says(overlay.offTape.get(entity) ?? []);
}
