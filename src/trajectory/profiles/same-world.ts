import { canonicalJson } from "../canonical-arguments.ts";
import { EVERYTHING } from "../entities.ts";
import { isStateless, type ToolProfile } from "../tool-profile.ts";
import type { TapeEntry } from "../tape.ts";
import type { Seen } from "./samples.ts";

/**
 * Names of the worlds that a read was made in; equal names mean the same state as far as replay tells states apart: on its own tape by the ordered
 * writes, and across tapes by versions and eras of what it touches. Of a stateless tool there is one world.
 */
export function worldsOf(profile: ToolProfile, { tape, entry }: Seen): readonly string[] {
  if (isStateless(profile)) return [`any ${entry.schemaHash}`];
  const own = `tape ${tape.id} ${entry.writePrefix} ${entry.schemaHash}`;
  const eras = Object.values(entry.entityEra);
  if (eras.length === 0 || eras.some((era) => era < 0)) return [own];
  return [own, `eras ${tape.tenant} ${entry.schemaHash} ${canonicalJson([entry.entityVersion, entry.entityEra])}`];
}

/** No recorded write of another conversation came in between, as far as the entities that a read is about tell. */
export function sameEra(earlier: TapeEntry, later: TapeEntry): boolean {
  return later.entitiesTouched.every((entity) => {
    const [before, after] = [earlier.entityEra[entity], later.entityEra[entity]];
    return before !== undefined && before >= 0 && after !== undefined && after >= 0 && before === after;
  });
}

/** As `sameEra`, but for what it names where it names something: others write elsewhere all the time. Good enough to suspect, not to serve. */
export function nearlySameEra(earlier: TapeEntry, later: TapeEntry): boolean {
  const named = later.entitiesTouched.filter((entity) => entity !== EVERYTHING);
  if (named.length === 0) return sameEra(earlier, later);
  return sameEra({ ...earlier }, { ...later, entitiesTouched: named });
}

/** A read's answer, to compare. */
export function answerText({ result }: Pick<Seen, "result">): string {
  return canonicalJson(result);
}
