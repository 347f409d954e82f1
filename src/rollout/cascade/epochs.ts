import { UNKNOWN_ERA, type EraIndex } from "../../trajectory/era.ts";
import type { Tape } from "../../trajectory/tape.ts";
import { countOf, type WriteEvent } from "../../trajectory/write-state.ts";

/**
 * Per entry and touched entity: how often somebody else had changed the entity since the conversation began, by the recorded writes of others and by
 * answers that changed without a write. A rollout that was shown an entity after such a change must not be shown it from before: time would run
 * backwards.
 */
export function epochsOf(tape: Tape, eras: EraIndex): readonly Readonly<Record<string, number>>[] {
  const writes: WriteEvent[] = [];
  const current = new Map<string, { epoch: number; foreign: number }>();
  const answers = new Map<string, string>();
  return tape.entries.map((entry) => {
    const question = `${entry.callKey}|${JSON.stringify(entry.entityVersion)}`;
    const changed = answers.has(question) && answers.get(question) !== entry.result;
    answers.set(question, entry.result);
    const epochs = entry.entitiesTouched.map((entity): [string, number] => {
      const atStart = (): number => eras.before(entity, { fromMs: tape.recordedAtMs, toMs: tape.recordedAtMs }, tape.id);
      const before = current.get(entity) ?? { epoch: 0, foreign: atStart() };
      const era = entry.entityEra[entity] ?? UNKNOWN_ERA;
      const foreign = era === UNKNOWN_ERA ? UNKNOWN_ERA : era - countOf(writes, entity);
      const moved = changed || foreign === UNKNOWN_ERA || foreign !== before.foreign;
      const epoch = before.epoch + (moved ? 1 : 0);
      current.set(entity, { epoch, foreign });
      return [entity, epoch];
    });
    if (entry.writeKey !== null) writes.push({ writeKey: entry.writeKey, entities: entry.entitiesTouched });
    return Object.fromEntries(epochs);
  });
}
