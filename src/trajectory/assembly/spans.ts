import type { Call } from "../../trace/call.ts";

export type SpanIndex = ReadonlyMap<string, Call>;

/** Calls by trace and span id. A span id alone is unique only inside its trace. */
export function indexSpans(calls: readonly Call[]): SpanIndex {
  return new Map(calls.map((call) => [spanKey(call.traceId, call.spanId), call]));
}

/**
 * Finds the nearest span around a call that fits; null for none. Every span is looked at once, however many calls lie how deep below it: a hostile sender can
 * write long chains of parents, and parents in a circle, in which no span is around itself.
 */
export function createSurroundings(spans: SpanIndex, fits: (around: Call) => boolean): (call: Call) => Call | null {
  const known = new Map<Call, Call | null>();
  const search = (call: Call): Call | null => {
    const way = new Set<Call>();
    let found: Call | null = null;
    for (let at: Call | null = call; at !== null && !way.has(at);) {
      const answer = known.get(at);
      if (answer !== undefined) {
        found = answer;
        break;
      }
      way.add(at);
      const parent = parentOf(at, spans);
      if (parent !== null && fits(parent)) {
        found = parent;
        break;
      }
      at = parent;
    }
    for (const passed of way) known.set(passed, found);
    return found;
  };
  return (call) => {
    const found = search(call);
    return found === call ? null : found;
  };
}

export function spanAt(spans: SpanIndex, { traceId, spanId }: Pick<Call, "traceId" | "spanId">): Call | null {
  return spans.get(spanKey(traceId, spanId)) ?? null;
}

export function parentOf({ traceId, parentSpanId }: Call, spans: SpanIndex): Call | null {
  return parentSpanId === null ? null : spanAt(spans, { traceId, spanId: parentSpanId });
}

/** By start, then by ids, so that the order of arrival never shows. */
export function byStart(a: Call | undefined, b: Call | undefined): number {
  if (a === undefined || b === undefined) return 0;
  if (a.startNs !== b.startNs) return a.startNs < b.startNs ? -1 : 1;
  return spanKey(a.traceId, a.spanId) < spanKey(b.traceId, b.spanId) ? -1 : 1;
}

function spanKey(traceId: string, spanId: string): string {
  return `${traceId}/${spanId}`;
}
