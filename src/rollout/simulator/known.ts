import { EVERYTHING, entitiesOfCall, entitiesTouched, isScalar, type EntityView, type Scalar } from "../../trajectory/entities.ts";
import type { ToolProfiles } from "../../trajectory/tool-profile.ts";
import type { Outcome } from "../cascade/outcome.ts";
import type { PreparedCall } from "../cascade/prepare.ts";
import { knownView, viewSource, type Situation } from "../cascade/situation.ts";
import { seededLike } from "../seed.ts";

/** What is true in this state of what the call is about. */
export interface Known {
  views: ReadonlyMap<string, EntityView>;
  /** Other tapes that said so. */
  sources: readonly string[];
}

/** An id that the answer may give to something new. */
export interface NewId {
  /** Where the recorded answer had one. */
  path: string;
  value: Scalar;
}

const MAX_ENTITIES = 16;
const MAX_NEW_IDS = 16;
const DRAWS = 8;

/** What tapes and the rollout's own writes say of the entities that the call names, and of those that its arguments mention. */
export function knownOf(situation: Situation, call: PreparedCall): Known {
  const mentioned = entitiesTouched(call.profile, call.args, call.args, situation.pool.templates);
  const entities = [...new Set([...entitiesOfCall(call.profile, call.args), ...mentioned])].filter((entity) => entity !== EVERYTHING);
  const views = new Map<string, EntityView>();
  const sources = new Set<string>();
  for (const entity of entities.slice(0, MAX_ENTITIES)) {
    const view = knownView(situation, entity);
    if (view === null) continue;
    views.set(entity, view);
    const source = viewSource(situation, entity);
    if (source !== null) sources.add(source);
  }
  return { views, sources: [...sources] };
}

/** Names under which values are keys: of arguments by their role, and of what entity templates are filled with. */
export function keyNamesOf(profiles: ToolProfiles): ReadonlySet<string> {
  const names = new Set<string>();
  const add = (path: string): void => {
    names.add(path.split(".").at(-1) ?? path);
  };
  for (const { argumentRoles, entityPaths } of profiles.values()) {
    for (const [path, role] of Object.entries(argumentRoles)) if (role === "key") add(path);
    for (const template of entityPaths) for (const [, path = ""] of template.matchAll(/\{([^{}]+)\}/g)) add(path);
  }
  return names;
}

/**
 * Ids for what a successful write makes, shaped like those of the recorded answers and known to nobody; for a read, only what its answers draw anew each time.
 * A rollout that is shown an id by a read asks for it next, and nothing could answer that.
 */
export function newIdsOf(
  { pool }: Situation,
  call: PreparedCall,
  { outcome, isWrite, seed }: { outcome: Outcome; isWrite: boolean; seed: readonly (string | number)[] },
): readonly NewId[] {
  const [model] = outcome.examples;
  if (model === undefined || outcome.isError) return [];
  const keys = keyNamesOf(pool.profiles);
  const asked = new Set(leavesOf(model.args).map(({ value }) => String(value)));
  const isNew = (path: string, name: string, value: Scalar): boolean =>
    call.profile.volatileResultPaths.some((pattern) => matches(pattern, path)) || (isWrite && keys.has(name) && !asked.has(String(value)));
  return leavesOf(model.parsed)
    .filter(({ path, name, value }) => isNew(path, name, value) && /\d/.test(String(value)))
    .slice(0, MAX_NEW_IDS)
    .flatMap(({ path, name, value }) => {
      for (let draw = 0; draw < DRAWS; draw += 1) {
        const drawn = seededLike(value as string | number, ...seed, path, draw);
        if (!keys.has(name) || !pool.knowsKey(name, drawn)) return [{ path, value: drawn }];
      }
      return [];
    });
}

/** Every scalar of a parsed answer with its path; at most 16 levels deep. */
export function leavesOf(value: unknown): readonly { path: string; name: string; value: Scalar }[] {
  const found: { path: string; name: string; value: Scalar }[] = [];
  const walk = (node: unknown, path: readonly string[], name: string): void => {
    if (isScalar(node)) found.push({ path: path.join("."), name, value: node });
    else if (typeof node === "object" && node !== null && path.length < 16)
      // An element of a list is called what the list is called.
      for (const [key, item] of Object.entries(node)) walk(item, [...path, key], Array.isArray(node) ? name : key);
  };
  walk(value, [], "");
  return found;
}

function matches(pattern: string, path: string): boolean {
  const [wanted, parts] = [pattern.split("."), path.split(".")];
  return wanted.length === parts.length && wanted.every((part, index) => part === "*" || part === parts[index]);
}
