import type { PooledEntry, TapePool } from "../cascade/tape-pool.ts";
import { sameVersions, type Situation } from "../cascade/situation.ts";

/** The pool as if these tapes answered nothing. What they wrote still happened, and which keys exist is still known. */
export function withoutTapes(pool: TapePool, left: ReadonlySet<string>): TapePool {
  const others = (entries: readonly PooledEntry[]): readonly PooledEntry[] =>
    entries.some(({ tape }) => left.has(tape.id)) ? entries.filter(({ tape }) => !left.has(tape.id)) : entries;
  return {
    ...pool,
    ofTape: (tapeId) => (left.has(tapeId) ? [] : pool.ofTape(tapeId)),
    counted: (tapeId) => (left.has(tapeId) ? [] : pool.counted(tapeId)),
    ofTapeCall: (tapeId, callKey) => (left.has(tapeId) ? [] : pool.ofTapeCall(tapeId, callKey)),
    aboutOn: (tapeId, entity) => (left.has(tapeId) ? [] : pool.aboutOn(tapeId, entity)),
    ofCall: remembered((callKey) => others(pool.ofCall(callKey))),
    ofCallInEra: (callKey, entity, era) => others(pool.ofCallInEra(callKey, entity, era)),
    ofTool: remembered((tool) => others(pool.ofTool(tool))),
    countedOf: remembered((tool) => others(pool.countedOf(tool))),
    about: remembered((entity) => others(pool.about(entity))),
  };
}

/**
 * A situation as it is where a rollout leaves its recording: the own tape up to this entry says what the conversation had seen, and answers nothing that
 * was asked in the state of now.
 */
export function departing(situation: Situation, recorded: PooledEntry, whole: TapePool): Situation {
  const { pool } = situation;
  const own = recorded.tape.id;
  const before = ({ index }: PooledEntry): boolean => index < recorded.index;
  return {
    ...situation,
    pool: {
      ...pool,
      ofTape: (tapeId) => (tapeId === own ? whole.ofTape(own).filter(before) : pool.ofTape(tapeId)),
      ofTapeCall: (tapeId, callKey) =>
        tapeId === own
          ? whole.ofTapeCall(own, callKey).filter((seen) => before(seen) && !sameVersions(situation, seen))
          : pool.ofTapeCall(tapeId, callKey),
      aboutOn: (tapeId, entity) => (tapeId === own ? whole.aboutOn(own, entity).filter(before) : pool.aboutOn(tapeId, entity)),
    },
  };
}

function remembered<Value>(find: (key: string) => Value): (key: string) => Value {
  const known = new Map<string, Value>();
  return (key) => {
    const found = known.get(key) ?? find(key);
    known.set(key, found);
    return found;
  };
}
