export type ResultShape = Record<string, unknown>;

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
