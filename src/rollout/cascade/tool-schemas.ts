import { Ajv, type ValidateFunction } from "ajv";
import { schemaHashOf, type ToolShape } from "../../trajectory/record-tape.ts";

export interface ToolSchema {
  schemaHash: string;
  parameters: Readonly<Record<string, unknown>> | undefined;
  /** What is wrong with canonical arguments, or null. */
  problemOf(args: unknown): string | null;
}

export interface ToolSchemas {
  of(tool: ToolShape): ToolSchema;
}

/** Compiles argument schemas, each once. Schemas come from telemetry: patterns are not run (they could take for ever), broken ones check nothing. */
export function createToolSchemas(): ToolSchemas {
  const ajv = new Ajv({ strict: false, ownProperties: true, validateFormats: false, logger: false, addUsedSchema: false });
  const compiled = new Map<string, ToolSchema>();
  return {
    of(tool) {
      const schemaHash = schemaHashOf(tool);
      const known = compiled.get(schemaHash);
      if (known !== undefined) return known;
      const validate = compile(ajv, tool.parameters);
      const problemOf = (args: unknown): string | null =>
        validate === null || validate(args) ? null : ajv.errorsText(validate.errors, { dataVar: "arguments" });
      const schema = { schemaHash, parameters: tool.parameters, problemOf };
      compiled.set(schemaHash, schema);
      return schema;
    },
  };
}

function compile(ajv: Ajv, parameters: Readonly<Record<string, unknown>> | undefined): ValidateFunction | null {
  if (parameters === undefined) return null;
  try {
    return ajv.compile(withoutPatterns(parameters, 0) as Record<string, unknown>);
  } catch {
    return null;
  }
}

/** `$id` goes too: two tools may carry the same one, and ajv refuses the second. */
function withoutPatterns(schema: unknown, depth: number): unknown {
  if (schema === null || typeof schema !== "object") return schema;
  if (depth > 32) return {};
  if (Array.isArray(schema)) return schema.map((item: unknown) => withoutPatterns(item, depth + 1));
  const kept = Object.entries(schema).filter(([key, value]) => !(isPatternKey(key) && !isProperty(key, value)));
  return Object.fromEntries(kept.map(([key, value]) => [key, withoutPatterns(value, depth + 1)]));
}

function isPatternKey(key: string): boolean {
  return key === "pattern" || key === "patternProperties" || key === "$id" || key === "$schema";
}

/** An argument may be called `pattern`: then its value is a schema, not a text. */
function isProperty(key: string, value: unknown): boolean {
  return key !== "patternProperties" && value !== null && typeof value === "object";
}
