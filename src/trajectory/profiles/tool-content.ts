import { parseResult } from "../record-tape.ts";
import type { Tape } from "../tape.ts";
import { errorShapeOf, type ErrorShape } from "./error-shapes.ts";
import { inferSchema, type ResultSchema } from "./result-schema.ts";
import type { Seen } from "./samples.ts";

/** Which mistake or state an error speaks of, by its code or its words. */
export type ErrorKind = "validation" | "not_found" | "state";

export interface ErrorExample {
  kind: ErrorKind;
  /** How it was told to be an error; replay goes by `recorded` alone. */
  shape: ErrorShape;
  /** Untrusted text, cut: canonical arguments and the answer. */
  arguments: string;
  result: string;
  atMs: number;
  tape: string;
}

/** What one tool's recorded answers look like. Content of conversations: made of the tapes that the reader may see. */
export interface ToolContent {
  /** The newest few of each kind. */
  errorExamples: readonly ErrorExample[];
  /** How many answers look like an error, by how that is told. */
  errorShapes: Readonly<Partial<Record<ErrorShape["by"], number>>>;
  /** Schema of the answers that are no errors; null where none was recorded. */
  resultSchema: ResultSchema | null;
  /** Answers that begin like JSON and do not parse: somebody cut them. */
  cut: number;
  lastCallAtMs: number | null;
}

const MAX_EXAMPLES = 3;
const MAX_TEXT = 500;
/** Newest answers of which the schema is made. */
const MAX_ANSWERS = 2_000;

/**
 * Error examples and result schema of one tool. No part of its profile: profiles are made of all tapes, and a held-out tape's text must not reach
 * training. Give it the tapes of one split to train by.
 */
export function toolContentOf(tool: string, tapes: readonly Tape[]): ToolContent {
  const seen = tapes
    .flatMap((tape) => tape.entries.map((entry, index) => ({ tape, entry, index })))
    .filter(({ entry }) => entry.tool === tool)
    .sort(
      (a, b) => b.entry.startedAtMs - a.entry.startedAtMs || (a.tape.id < b.tape.id ? -1 : a.tape.id > b.tape.id ? 1 : a.index - b.index),
    )
    .map((one): Seen => ({ ...one, args: null, result: parseResult(one.entry.result) }));
  const judged = seen.map((one) => ({ one, shape: errorShapeOf(one) }));
  const failed = judged.flatMap(({ one, shape }) => (shape === null ? [] : [{ one, shape, kind: kindOf(one) }]));
  const succeeded = judged.filter(({ shape, one }) => shape === null && !isCut(one)).map(({ one }) => one.result);
  const errorShapes: Partial<Record<ErrorShape["by"], number>> = {};
  for (const { shape } of failed) errorShapes[shape.by] = (errorShapes[shape.by] ?? 0) + 1;
  return {
    errorExamples: (["validation", "not_found", "state"] as const).flatMap((kind) =>
      failed
        .filter((error) => error.kind === kind)
        .slice(0, MAX_EXAMPLES)
        .map(exampleOf),
    ),
    errorShapes,
    resultSchema: inferSchema(succeeded.slice(0, MAX_ANSWERS)),
    cut: seen.filter(isCut).length,
    lastCallAtMs: seen[0]?.entry.startedAtMs ?? null,
  };
}

function exampleOf({ one, shape, kind }: { one: Seen; shape: ErrorShape; kind: ErrorKind }): ErrorExample {
  const { entry, tape } = one;
  return {
    ...{ kind, shape, tape: tape.id, atMs: entry.startedAtMs },
    arguments: excerpt(entry.argumentsCanonical),
    result: excerpt(entry.result),
  };
}

/** By an HTTP code where there is one, else by words; what neither tells was the state of the world. */
function kindOf({ entry, result }: Seen): ErrorKind {
  const code = /"(?:status_code|statusCode|status|code|http_status)"\s*:\s*"?(4\d\d)\b/.exec(entry.result.slice(0, MAX_TEXT))?.[1];
  if (code === "400" || code === "422") return "validation";
  if (code === "404" || code === "410") return "not_found";
  const text = (typeof result === "string" ? result : entry.result).slice(0, MAX_TEXT);
  if (/not[ _]?found|no such|unknown|does(?: not|n't) exist/i.test(text)) return "not_found";
  return /invalid|validation|missing|required|must be|expected|malformed|bad request|unexpected argument/i.test(text)
    ? "validation"
    : "state";
}

function isCut({ entry, result }: Seen): boolean {
  return typeof result === "string" && /^\s*(?:\{\s*["}]|\[)/.test(entry.result);
}

function excerpt(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT).toWellFormed()}…` : text;
}
