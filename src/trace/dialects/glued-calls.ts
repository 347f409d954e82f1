import { tryJson } from "../json.ts";
import type { ToolDefinition } from "../message.ts";

interface RawCall {
  id: unknown;
  name: unknown;
  arguments: unknown;
}

/**
 * OpenInference for JavaScript appends the pieces of parallel streamed calls to one: id `call_acall_b`, name `lookuprefund`, arguments `{…}{…}`.
 * Takes them apart where that has exactly one reading: as many JSON objects as tool names and ids. Otherwise the call stays as it came.
 * @param idOf `first` where the SDK (LangSmith) keeps the id of the first call only: the others come back without one
 */
export function unglueCalls(call: RawCall, tools: readonly ToolDefinition[], idOf: "each" | "first" = "each"): RawCall[] {
  if (typeof call.name !== "string" || typeof call.arguments !== "string" || typeof call.id !== "string") return [call];
  const documents = gluedDocuments(call.arguments);
  // More than any model asks for at once: what is looked for grows with it.
  if (documents === null || documents.length > MAX_GLUED) return [call];
  const names = splitNames(call.name, [...new Set(tools.map((tool) => tool.name))], documents.length);
  const ids = idOf === "first" ? [call.id] : splitIds(call.id, documents.length);
  if (names === null || ids === null) return [call];
  return documents.map((text, index) => ({ id: ids[index], name: names[index], arguments: text }));
}

const MAX_GLUED = 16;

/** The arguments of several calls in one text; null for anything else. */
export function gluedDocuments(text: string): string[] | null {
  if (tryJson(text) !== undefined) return null;
  const documents = splitObjects(text);
  return documents === null || documents.length < 2 ? null : documents;
}

/** Top-level JSON objects that follow each other; null when something else is between them. */
function splitObjects(text: string): string[] | null {
  const objects: string[] = [];
  let depth = 0;
  let start = 0;
  let quoted = false;
  for (let index = 0; index < text.length; index++) {
    const char = text[index];
    if (quoted) {
      if (char === "\\") index++;
      else if (char === '"') quoted = false;
    } else if (char === '"') quoted = true;
    else if (char === "{" || char === "[") depth++;
    else if (char === "}" || char === "]") {
      depth--;
      if (depth === 0) {
        objects.push(text.slice(start, index + 1));
        start = index + 1;
      }
    }
  }
  return depth === 0 && text.slice(start).trim() === "" && objects.every((object) => tryJson(object) !== undefined) ? objects : null;
}

/** The only way to write `glued` as `count` known names in a row; null for none or several. */
function splitNames(glued: string, known: readonly string[], count: number): string[] | null {
  if (count > 16) return null;
  let readings: { names: string[]; rest: string }[] = [{ names: [], rest: glued }];
  for (let step = 0; step < count; step++) {
    readings = readings.flatMap(({ names, rest }) =>
      known
        .filter((name) => name !== "" && rest.startsWith(name))
        .map((name) => ({ names: [...names, name], rest: rest.slice(name.length) })),
    );
    if (readings.length > 64) return null;
  }
  const whole = readings.filter(({ rest }) => rest === "");
  return whole.length === 1 ? (whole[0]?.names ?? null) : null;
}

/** Ids of one answer share their prefix up to the first underscore (`call_…`, `chatcmpl-tool-…`), and that prefix starts each. */
function splitIds(glued: string, count: number): string[] | null {
  const prefix = /^(?:chatcmpl-tool-|[a-z]+_)/i.exec(glued)?.[0];
  if (prefix === undefined) return null;
  const ids = glued
    .split(prefix)
    .slice(1)
    .map((rest) => prefix + rest);
  return ids.length === count ? ids : null;
}
