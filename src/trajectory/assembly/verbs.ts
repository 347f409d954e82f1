import type { Call, ToolCall } from "../../trace/call.ts";
import { createSurroundings, type SpanIndex } from "./spans.ts";

/** Different verbs below one tool; a real one has a few. */
const MAX_VERBS = 8;

/**
 * The verbs of the HTTP requests that a tool's span, or any span below it, tells of: each once, sorted. Requests of a tool that another tool's span
 * wraps count for both.
 */
export function createVerbs(calls: readonly Call[], spans: SpanIndex): (tool: ToolCall) => readonly string[] {
  const around = createSurroundings(spans, (at) => at.kind === "tool");
  const verbs = new Map<Call, Set<string>>();
  for (const call of calls) {
    if (call.httpMethod === undefined) continue;
    const passed = new Set<Call>();
    // Hostile parents lead in circles.
    for (let at = call.kind === "tool" ? call : around(call); at !== null && !passed.has(at); at = around(at)) {
      passed.add(at);
      const known = verbs.get(at) ?? new Set<string>();
      if (known.size < MAX_VERBS) known.add(call.httpMethod);
      verbs.set(at, known);
    }
  }
  return (tool) => [...(verbs.get(tool) ?? [])].sort();
}
