import type { Placeholder } from "../../config-agent-replay.ts";

export type PlaceholderValues = Readonly<Partial<Record<Placeholder, string>>>;

/** A template with its placeholders filled in, in every text of it; what is filled in is not read as a template. @throws RangeError for a placeholder without value */
export function fillIn<T>(template: T, values: PlaceholderValues): T {
  return filled(template, values) as T;
}

function filled(template: unknown, values: PlaceholderValues): unknown {
  if (typeof template === "string") return fillText(template, values);
  if (Array.isArray(template)) return template.map((one) => filled(one, values));
  if (template === null || typeof template !== "object") return template;
  return Object.fromEntries(Object.entries(template).map(([key, value]) => [key, filled(value, values)]));
}

function fillText(template: string, values: PlaceholderValues): string {
  return template.replace(/\{([A-Za-z]+)\}/g, (_, name: Placeholder) => {
    const value = values[name];
    if (value === undefined) throw new RangeError(`{${name}} has no value here`);
    return value;
  });
}
