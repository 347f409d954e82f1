import { valueAtPath } from "./canonical-arguments.ts";
import { isStateless, mayWrite, type ToolProfile, type ToolProfiles } from "./tool-profile.ts";

/** Stands for the whole state: a read that touches it depends on every write, a write that touches it changes every entity. */
export const EVERYTHING = "*";

/** A result that names more entities than this is a listing of the world. */
const MAX_ENTITIES = 64;
const MAX_DEPTH = 16;

/** All entity templates of the agent's tools, each once, in stable order. */
export function templatesOf(profiles: ToolProfiles): readonly string[] {
  return [...new Set([...profiles.values()].flatMap((profile) => profile.entityPaths))].sort();
}

/** The entity that each of the profile's templates names by the arguments, in the profile's order; null where an argument is missing. */
export function entityByPath(profile: Pick<ToolProfile, "entityPaths">, args: unknown): readonly (string | null)[] {
  return profile.entityPaths.map((template) => fill(template, (path) => valueAtPath(args, path)));
}

/** The entities that a call names by its arguments; `*` where it names none or filters. Sorted. */
export function entitiesOfCall(profile: ToolProfile, args: unknown): readonly string[] {
  if (isStateless(profile)) return [];
  const named = entityByPath(profile, args).map((entity) => entity ?? EVERYTHING);
  if (profile.scope === "everything" || (mayWrite(profile) && named.length === 0)) named.push(EVERYTHING);
  return [...new Set(named)].sort();
}

/**
 * The entities that a call touched, its result included: an object of the result that has all fields of a template names that entity. So a
 * booking's room and hotel count as touched when the answer says them, and an id that a write returned belongs to that write.
 */
export function entitiesTouched(profile: ToolProfile, args: unknown, result: unknown, templates: readonly string[]): readonly string[] {
  if (isStateless(profile)) return [];
  const found = new Set(entitiesOfCall(profile, args));
  const shown = viewsOf(result, templates);
  if (shown.size > MAX_ENTITIES) found.add(EVERYTHING);
  else for (const entity of shown.keys()) found.add(entity);
  return [...found].sort();
}

export type Scalar = string | number | boolean | null;
/** What a result says about one entity: field → value. */
export type EntityView = ReadonlyMap<string, Scalar>;

/** Template → templates to whose things an object's fields belong instead, where it names one of theirs too (view-owners.ts). */
export type Owners = ReadonlyMap<string, ReadonlySet<string>>;

const NO_OWNERS: Owners = new Map();

/** The scalar fields that a parsed result shows of each entity that it names; with `owners`, of each that they belong to. */
export function viewsOf(result: unknown, templates: readonly string[], owners: Owners = NO_OWNERS): ReadonlyMap<string, EntityView> {
  const views = new Map<string, Map<string, Scalar>>();
  walk(result, { templates, owners }, views, 0);
  return views;
}

/** The entity of this template that an object names; null where it names none. */
export function filledBy(template: string, node: object): string | null {
  return fill(template, (path) => valueAtPath(node, path));
}

interface Naming {
  templates: readonly string[];
  owners: Owners;
}

function walk(node: unknown, naming: Naming, views: Map<string, Map<string, Scalar>>, depth: number): void {
  if (node === null || typeof node !== "object" || depth > MAX_DEPTH || views.size > MAX_ENTITIES) return;
  if (!Array.isArray(node)) {
    const named = naming.templates.flatMap((template) => {
      const entity = filledBy(template, node);
      return entity === null ? [] : [{ template, entity }];
    });
    for (const { template, entity } of named) {
      const owners = naming.owners.get(template);
      // What a thing says of itself by another template's name is said of itself all the same.
      const isOwned = named.some((other) => owners?.has(other.template) === true && other.entity !== entity);
      if (!isOwned) addFields(views, entity, node);
    }
  }
  for (const item of Object.values(node)) walk(item, naming, views, depth + 1);
}

function addFields(views: Map<string, Map<string, Scalar>>, entity: string, node: object): void {
  const fields = views.get(entity) ?? new Map<string, Scalar>();
  for (const [name, value] of Object.entries(node)) if (isScalar(value)) fields.set(name, value);
  views.set(entity, fields);
}

export function isScalar(value: unknown): value is Scalar {
  return value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

/** `order:{order_id}` with every placeholder filled, or null where one has no scalar value. */
function fill(template: string, valueAt: (path: string) => unknown): string | null {
  let complete = true;
  const filled = template.replace(/\{([^{}]+)\}/g, (_, path: string) => {
    const value = valueAt(path);
    if ((typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") || value === "") complete = false;
    return String(value);
  });
  return complete && filled !== template ? filled : null;
}
