import type { EntityView, Scalar } from "../../trajectory/entities.ts";
import { UNKNOWN_ERA, type EraIndex } from "../../trajectory/era.ts";
import type { Tape } from "../../trajectory/tape.ts";
import { createWriteLog } from "../../trajectory/write-state.ts";

/** Stands among the entities of an entry's epochs for time itself: the place on the tape from which the entry's latest change by others could be seen. */
export const TIME = "";

export interface Epochs {
  /** Per touched entity: how often somebody else had changed it since the conversation began, as far as its tape shows; and `TIME`. */
  epochs: Readonly<Record<string, number>>;
  /** Per touched entity: the last place on the tape at which it was still so. */
  until: Readonly<Record<string, number>>;
}

/** What one entry shows of entities, without what differs from call to call. */
export type Shown = ReadonlyMap<string, EntityView>;

/**
 * When others changed what a tape shows, by their recorded writes, by answers that changed without a write, and by fields of an entity that one tool showed so and
 * another, later, otherwise. A rollout that was shown an entity after such a change must not be shown it from before, nor anything else that may have
 * changed with it: time would run backwards. `shown`: by place on the tape.
 */
export function epochsOf(tape: Tape, eras: EraIndex, shown: readonly Shown[]): readonly Epochs[] {
  const writes = createWriteLog();
  const isChanged = changesIn(tape, shown);
  const current = new Map<string, { epoch: number; foreign: number; since: number }>();
  const answers = new Map<string, string>();
  const last = new Map<string, number>();
  const all = tape.entries.map((entry, index) => {
    const question = `${entry.callKey}|${JSON.stringify(entry.entityVersion)}`;
    const changed = answers.has(question) && answers.get(question) !== entry.result;
    answers.set(question, entry.result);
    let time = 0;
    const epochs = entry.entitiesTouched.map((entity): [string, number] => {
      const atStart = (): number => eras.before(entity, { fromMs: tape.recordedAtMs, toMs: tape.recordedAtMs }, tape.id);
      const before = current.get(entity) ?? { epoch: 0, foreign: atStart(), since: 0 };
      const era = entry.entityEra[entity] ?? UNKNOWN_ERA;
      const foreign = era === UNKNOWN_ERA ? UNKNOWN_ERA : era - writes.countOf(entity);
      const moved = changed || isChanged(index, entity) || foreign === UNKNOWN_ERA || foreign !== before.foreign;
      const now = { epoch: before.epoch + (moved ? 1 : 0), foreign, since: moved ? index : before.since };
      current.set(entity, now);
      last.set(`${entity}|${now.epoch}`, index);
      time = Math.max(time, now.since);
      return [entity, now.epoch];
    });
    if (entry.writeKey !== null) writes.add({ writeKey: entry.writeKey, entities: entry.entitiesTouched });
    return { epochs, time };
  });
  return all.map(({ epochs, time }) => ({
    epochs: Object.fromEntries([...epochs, [TIME, time]]),
    until: Object.fromEntries(epochs.map(([entity, epoch]) => [entity, last.get(`${entity}|${epoch}`) ?? 0])),
  }));
}

/** Whether an entry shows a field of the entity otherwise than an earlier one of the same version. Asked once for each place and entity, in order. */
function changesIn(tape: Tape, shown: readonly Shown[]): (index: number, entity: string) => boolean {
  const known = new Map<string, Map<string, Scalar>>();
  return (index, entity) => {
    const entry = tape.entries[index];
    const view = shown[index]?.get(entity);
    // What a write answers is of after it.
    if (entry === undefined || view === undefined || entry.writeKey !== null || entry.damaged) return false;
    const key = `${entity}|${entry.entityVersion[entity]}`;
    const before = known.get(key) ?? new Map<string, Scalar>();
    known.set(key, before);
    const isChanged = [...view].some(([field, value]) => before.has(field) && before.get(field) !== value);
    for (const [field, value] of view) before.set(field, value);
    return isChanged;
  };
}
