import { Ajv, type ValidateFunction } from "ajv";
import { LRUCache } from "lru-cache";

export type ResultShape = Record<string, unknown>;

/** What is wrong with a value's form, or null. */
export type ShapeCheck = (value: unknown) => string | null;

const MAX_COMPILED = 256;

/** Compiles shapes, each once: a tool's answers are checked again and again. */
export function createShapeChecks(): (shape: ResultShape) => ShapeCheck {
  // The schemas are our own: looking them over costs more than compiling them.
  const options = {
    strict: false,
    validateFormats: false,
    logger: false,
    addUsedSchema: false,
    meta: false,
    validateSchema: false,
  } as const;
  const compiled = new LRUCache<string, { validate: ValidateFunction; ajv: Ajv }>({ max: MAX_COMPILED });
  return (shape) => {
    const key = JSON.stringify(shape);
    let known = compiled.get(key);
    if (known === undefined) {
      // One each: an instance keeps every schema that it ever compiled.
      const ajv = new Ajv(options);
      known = { ajv, validate: ajv.compile(shape) };
      compiled.set(key, known);
    }
    const { validate, ajv } = known;
    return (value) => (validate(value) ? null : ajv.errorsText(validate.errors, { dataVar: "result" }).slice(0, 300));
  };
}

const MAX_DEPTH = 8;
/** An object with more names than this is a table by key, not a record. */
const MAX_NAMES = 64;

/**
 * A JSON schema that all `values` keep: names and types as recorded, a name required where every value has it, nothing that no value has. Results that are no
 * JSON are strings. Pure; the order of the values does not matter to what it takes.
 */
export function resultShapeOf(values: readonly unknown[]): ResultShape {
  return shapeOf(values, 0);
}

function shapeOf(values: readonly unknown[], depth: number): ResultShape {
  if (values.length === 0 || depth > MAX_DEPTH) return {};
  const byType = Map.groupBy(values, typeOf);
  const shapes = [...byType].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([type, some]) => shapeOfType(type, some, depth));
  return shapes.length === 1 ? (shapes[0] ?? {}) : { anyOf: shapes };
}

function shapeOfType(type: string, values: readonly unknown[], depth: number): ResultShape {
  if (type === "array") return { type, items: shapeOf((values as readonly (readonly unknown[])[]).flat(), depth + 1) };
  return type === "object" ? objectShape(values as readonly object[], depth) : { type };
}

function objectShape(values: readonly object[], depth: number): ResultShape {
  const fields = Map.groupBy(
    values.flatMap((value) => Object.entries(value) as [string, unknown][]),
    ([name]) => name,
  );
  const under = (entries: readonly [string, unknown][]): ResultShape =>
    shapeOf(
      entries.map(([, value]) => value),
      depth + 1,
    );
  if (fields.size > MAX_NAMES) return { type: "object", additionalProperties: under([...fields.values()].flat()) };
  return {
    type: "object",
    properties: Object.fromEntries([...fields].map(([name, entries]) => [name, under(entries)])),
    required: [...fields].filter(([, entries]) => entries.length === values.length).map(([name]) => name),
    additionalProperties: false,
  };
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
