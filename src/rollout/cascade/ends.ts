import { entitiesOfCall, EVERYTHING } from "../../trajectory/entities.ts";
import { mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import type { TapePool } from "./tape-pool.ts";

/** Write tools after whose success a look at what they wrote failed: they take it away. */
export function checkEnds(pool: TapePool, tapeIds: readonly string[]): ReadonlySet<string> {
  const ends = new Set<string>();
  for (const tapeId of tapeIds) {
    const entries = pool.counted(tapeId);
    for (const { entry, args, index } of entries) {
      const profile = profileOf(pool.profiles, entry.tool);
      if (!entry.isError || mayWrite(profile)) continue;
      const missed = entitiesOfCall(profile, args).filter((entity) => entity !== EVERYTHING);
      const last = entries
        .slice(0, index)
        .findLast((earlier) => earlier.entry.writeKey !== null && missed.some((entity) => earlier.entry.entitiesTouched.includes(entity)));
      if (last !== undefined) ends.add(last.entry.tool);
    }
  }
  return ends;
}
