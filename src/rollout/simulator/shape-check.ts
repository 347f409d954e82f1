import { Ajv, type ValidateFunction } from "ajv";
import { LRUCache } from "lru-cache";
import type { ResultSchema } from "../../trajectory/profiles/result-schema.ts";

/** What is wrong with a value's form, or null. */
export type ShapeCheck = (value: unknown) => string | null;

const MAX_COMPILED = 256;

/** Compiles shapes, each once: a tool's answers are checked again and again. */
export function createShapeChecks(): (shape: ResultSchema) => ShapeCheck {
  // The schemas are our own: looking them over costs more than compiling them.
  const options = {
    strict: false,
    // Every object inherits a toString: a field of that name would be missing nowhere.
    ownProperties: true,
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
