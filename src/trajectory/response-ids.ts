import type { Kysely } from "kysely";
import type { Tables } from "../store/tables.ts";
import { normalise } from "../trace/normalise.ts";
import { loadTraces } from "../trace/span-store.ts";
import type { Span } from "../trace/span.ts";

/** Traces that are decoded at once. */
const TRACES_AT_ONCE = 20;

/** Ids of the model's responses in stored spans: of a conversation that is open no trajectory says them, and what is said of one names nothing else. */
export async function responseIdsOf(db: Kysely<Tables>, tenant: string, traceIds: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  for (let first = 0; first < traceIds.length; first += TRACES_AT_ONCE) {
    const { spans } = await loadTraces(db, tenant, traceIds.slice(first, first + TRACES_AT_ONCE));
    for (const span of spans) {
      const id = responseIdOf(span);
      if (id !== null) found.add(id);
    }
  }
  return [...found];
}

function responseIdOf(span: Span): string | null {
  try {
    const call = normalise(span, []);
    return call.kind === "inference" ? call.responseId : null;
  } catch {
    // What no dialect can read has been set aside by assembly, too.
    return null;
  }
}
