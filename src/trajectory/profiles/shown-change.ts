import { EVERYTHING, templatesOf, viewsOf, type Scalar } from "../entities.ts";
import { isStateless, profileOf, type ToolProfiles } from "../tool-profile.ts";
import { learnOwners } from "../view-owners.ts";
import type { Demotion, Noise } from "./demote.ts";
import { fieldOf } from "./leaves.ts";
import type { Samples, Seen } from "./samples.ts";

/** Undisturbed looks by a pair of tools before their word on a field is compared at all, and the share of them that may differ. */
const MIN_QUIET = 3;
const MAX_QUIET_CHANGED = 0.1;
/** Looks around one tool alone before it can be acquitted. */
const MIN_ALONE = 5;
/**
 * A read counts as a hidden write when a field changed around it nearly always, and that would hardly happen by chance. Less is no proof: a search for what is free
 * names things because others changed them.
 */
const MIN_CHANGED = 3;
const MIN_CHANGED_SHARE = 0.75;
const MAX_CHANCE = 0.0001;
/** Calls between two looks; further apart they are hardly undisturbed. */
const MAX_BETWEEN = 50;

/** Two looks at one field of one entity, by whichever tools, with no recorded write to it in between. */
interface Looks {
  /** Who looked before and after, and at which field. */
  kind: string;
  /** Kind of the entity and name of the field. */
  field: string;
  changed: boolean;
  /** Reads in between whose arguments or answer name the entity. */
  suspects: ReadonlySet<string>;
}

interface Counts {
  looks: number;
  changed: number;
}

/**
 * A read that changes what other tools show of the entity that it names: a claim annotated as a look is followed by a look at what was claimed, never
 * repeated, so that no repeat around it tells. Looks before and after may be of two tools and two conversations; what two tools call by one name counts
 * only where they agree when nothing happened. At most one demotion, the plainest: what it changed makes others look guilty until it is known.
 */
export function shownDemotions(profiles: ToolProfiles, samples: Samples, noise: Noise): readonly Demotion[] {
  const all = looksOf(profiles, samples, noise);
  const quiet = countBy(
    all.filter(({ suspects }) => suspects.size === 0),
    ({ kind }) => kind,
  );
  const told = all.filter(({ kind }) => {
    const { looks, changed } = quiet.get(kind) ?? { looks: 0, changed: 0 };
    return looks >= MIN_QUIET && changed <= MAX_QUIET_CHANGED * looks;
  });
  const background = countBy(
    told.filter(({ suspects }) => suspects.size === 0),
    ({ field }) => field,
  );
  const guilty = [...blamed(told, background)].filter(([key, counts]) => isChangedBy(counts, background.get(fieldIn(key))));
  const [plainest] = guilty.sort(([one, a], [other, b]) => b.changed - a.changed || (one < other ? -1 : 1));
  if (plainest === undefined) return [];
  const [key, { looks, changed }] = plainest;
  const note = `what other tools show changed after it: ${fieldIn(key)}`;
  const fact = { about: "class", value: "write", from: "demoted", used: true, for: changed, against: looks - changed, note } as const;
  return [{ tool: toolIn(key), change: { cls: "write", evidence: "demoted" }, fact }];
}

/** Looks by `tool\nfield` of the one tool in between that is not acquitted by the looks around it alone. */
function blamed(told: readonly Looks[], background: ReadonlyMap<string, Counts>): ReadonlyMap<string, Counts> {
  const alone = countBy(
    told.filter(({ suspects }) => suspects.size === 1),
    ({ suspects, field }) => `${[...suspects][0]}\n${field}`,
  );
  const isAcquitted = (tool: string, field: string): boolean => {
    const counts = alone.get(`${tool}\n${field}`);
    return counts !== undefined && counts.looks >= MIN_ALONE && !isChangedBy(counts, background.get(field));
  };
  const blameable = told.flatMap((looks) => {
    const [suspect, ...others] = [...looks.suspects].filter((tool) => looks.suspects.size === 1 || !isAcquitted(tool, looks.field));
    return suspect === undefined || others.length > 0 ? [] : [{ ...looks, suspect }];
  });
  return countBy(blameable, ({ suspect, field }) => `${suspect}\n${field}`);
}

/** Whether so many changes are more than others' unrecorded writes explain. */
function isChangedBy({ looks, changed }: Counts, background: Counts = { looks: 0, changed: 0 }): boolean {
  const rate = (background.changed + 1) / (background.looks + 2);
  if (changed < MIN_CHANGED || changed < MIN_CHANGED_SHARE * looks || changed < 3 * rate * looks) return false;
  return chanceOf(changed, looks, rate) < MAX_CHANCE;
}

/** Probability of at least `changed` of `looks` at this rate. */
function chanceOf(changed: number, looks: number, rate: number): number {
  let [logTerm, below] = [looks * Math.log1p(-rate), 0];
  for (let count = 0; count < changed; count += 1) {
    below += Math.exp(logTerm);
    logTerm += Math.log((looks - count) / (count + 1)) + Math.log(rate) - Math.log1p(-rate);
  }
  return Math.max(0, 1 - below);
}

interface Look {
  seen: Seen;
  /** What the answer shows of the entity; nothing, where it only names it. */
  shown: ReadonlyMap<string, Scalar>;
}

function looksOf(profiles: ToolProfiles, samples: Samples, noise: Noise): Looks[] {
  const templates = templatesOf(profiles);
  const calls = samples.conversations.flat();
  const owners = learnOwners(
    profiles,
    calls.map(({ entry, args, result }) => ({ tool: entry.tool, isError: entry.isError, args, parsed: result })),
  );
  const tells = ({ entry }: Seen): boolean =>
    !entry.isError && !entry.damaged && entry.raced === null && !isStateless(profileOf(profiles, entry.tool));
  const byEntity = new Map<string, Look[]>();
  for (const seen of calls.filter(tells).sort(byTime)) {
    const { entry, tape } = seen;
    const unsteady = new Set([...profileOf(profiles, entry.tool).volatileResultPaths, ...(noise.get(entry.tool) ?? [])].map(fieldOf));
    const views = viewsOf(seen.result, templates, owners);
    for (const entity of entry.entitiesTouched) {
      if (entity === EVERYTHING) continue;
      const shown = new Map([...(views.get(entity) ?? [])].filter(([field]) => !unsteady.has(field)));
      const key = `${tape.tenant}\n${entity}`;
      const about = byEntity.get(key);
      if (about === undefined) byEntity.set(key, [{ seen, shown }]);
      else about.push({ seen, shown });
    }
  }
  return [...byEntity].flatMap(([key, about]) => {
    const entity = key.slice(key.indexOf("\n") + 1);
    return looksAt(entity, about);
  });
}

/** Every two looks at one field that follow each other. */
function looksAt(entity: string, about: readonly Look[]): Looks[] {
  const last = new Map<string, number>();
  return about.flatMap(({ seen: after, shown }, place) =>
    [...shown].flatMap(([name, value]): Looks[] => {
      const earlier = last.get(name);
      last.set(name, place);
      const before = earlier === undefined ? undefined : about[earlier];
      if (before === undefined || earlier === undefined || place - earlier > MAX_BETWEEN) return [];
      if (!isSameEra(before.seen, after, entity) || !isBefore(before.seen, after)) return [];
      const between = about.slice(earlier + 1, place).map(({ seen }) => seen);
      if (!between.every((seen) => isBefore(before.seen, seen) && isBefore(seen, after))) return [];
      const suspects = new Set(between.map(({ entry }) => entry.tool));
      // Things of one kind: what is before the key in their name.
      const field = `${entity.slice(0, entity.indexOf(":") + 1)}${name}`;
      const kind = `${before.seen.entry.tool}\n${after.entry.tool}\n${field}`;
      return [{ kind, field, changed: before.shown.get(name) !== value, suspects }];
    }),
  );
}

/** No recorded write to the entity came in between, whoever's. What a write answers is of after it. */
function isSameEra(one: Seen, other: Seen, entity: string): boolean {
  const era = one.entry.entityEra[entity] ?? -1;
  return era >= 0 && era + (one.entry.writeKey === null ? 0 : 1) === other.entry.entityEra[entity];
}

/** Whether one call had certainly ended when the other began. */
function isBefore(one: Seen, other: Seen): boolean {
  if (one.tape.id === other.tape.id) return one.entry.turn < other.entry.turn;
  return one.entry.startedAtMs + one.entry.latencyMs <= other.entry.startedAtMs;
}

function byTime(one: Seen, other: Seen): number {
  if (one.tape.id === other.tape.id) return one.index - other.index;
  return one.entry.startedAtMs - other.entry.startedAtMs || (one.tape.id < other.tape.id ? -1 : 1);
}

function countBy<T extends { changed: boolean }>(all: readonly T[], keyOf: (one: T) => string): ReadonlyMap<string, Counts> {
  const counts = new Map<string, Counts>();
  for (const one of all) {
    const { looks, changed } = counts.get(keyOf(one)) ?? { looks: 0, changed: 0 };
    counts.set(keyOf(one), { looks: looks + 1, changed: changed + (one.changed ? 1 : 0) });
  }
  return counts;
}

function toolIn(key: string): string {
  return key.slice(0, key.indexOf("\n"));
}

function fieldIn(key: string): string {
  return key.slice(key.indexOf("\n") + 1);
}
