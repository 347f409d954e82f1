import { entitiesOfCall, EVERYTHING } from "../../trajectory/entities.ts";
import { mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import { errorKind } from "./agent-error.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";
import type { ToolSchema } from "./tool-schemas.ts";

/** By write tool: the conversations in which looks found what it had written last, and the looks that failed. */
export type EndsRecord = ReadonlyMap<string, { found: ReadonlySet<string>; missed: readonly PooledEntry[] }>;

/** Conversations with failed looks before a write tool takes away what it writes: one may be the look's own failure, tried again. */
const MIN_MISSED = 2;

/** Counts every look at something after a write to it, under the last such write's tool. */
export function checkEnds(pool: TapePool, tapeIds: readonly string[]): EndsRecord {
  const record = new Map<string, { found: Set<string>; missed: PooledEntry[] }>();
  for (const tapeId of tapeIds) {
    const lastWrites = new Map<string, { tool: string; index: number }>();
    for (const look of pool.counted(tapeId)) {
      const { entry, args, index } = look;
      if (entry.writeKey !== null) for (const entity of entry.entitiesTouched) lastWrites.set(entity, { tool: entry.tool, index });
      const profile = profileOf(pool.profiles, entry.tool);
      if (mayWrite(profile)) continue;
      const writes = entitiesOfCall(profile, args).flatMap((entity) => (entity === EVERYTHING ? [] : (lastWrites.get(entity) ?? [])));
      const [last] = writes.toSorted((one, other) => other.index - one.index);
      if (last === undefined) continue;
      const counts = record.get(last.tool) ?? { found: new Set(), missed: [] };
      record.set(last.tool, counts);
      if (entry.isError) counts.missed.push(look);
      else counts.found.add(look.tape.conversationId);
    }
  }
  return record;
}

/**
 * Write tools after which looks at what they wrote failed, in more than one conversation and oftener than not: they take it away. A look whose arguments were wrong says nothing.
 * `schemaOf`: a tool as the scenario has it; null where it does not.
 */
export function endsOf(pool: TapePool, record: EndsRecord, schemaOf: (tool: string) => ToolSchema | null): ReadonlySet<string> {
  const isWrong = (look: PooledEntry): boolean => {
    const schema = schemaOf(look.entry.tool);
    return schema?.schemaHash === look.entry.schemaHash && errorKind(pool, { schema }, look) === "invalid_arguments";
  };
  const isEnd = (found: number, missed: readonly PooledEntry[]): boolean => {
    const conversations = new Set(missed.map(({ tape }) => tape.conversationId)).size;
    return conversations >= MIN_MISSED && conversations > found;
  };
  const ends = [...record].filter(
    ([, { found, missed }]) =>
      isEnd(found.size, missed) &&
      isEnd(
        found.size,
        missed.filter((look) => !isWrong(look)),
      ),
  );
  return new Set(ends.map(([tool]) => tool));
}
