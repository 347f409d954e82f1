import { type Kysely, sql } from "kysely";
import { indexableText } from "../store/storable.ts";
import type { Tables } from "../store/tables.ts";
import { decodeStoredSpan } from "../trace/decode.ts";
import { normalise } from "../trace/normalise.ts";

/** Traces that are decoded at once. */
const TRACES_AT_ONCE = 20;

/** Ids of the model's responses in stored spans, as feedback has them: of a conversation that is open no trajectory says them, and what is said of one names nothing else. */
export async function responseIdsOf(db: Kysely<Tables>, tenant: string, traceIds: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  for (let first = 0; first < traceIds.length; first += TRACES_AT_ONCE) {
    const some = traceIds.slice(first, first + TRACES_AT_ONCE);
    const { rows } = await sql<{ raw: Uint8Array }>`
      select raw from spans where tenant = ${tenant} and trace_id = any(${some}::text[])`.execute(db);
    for (const { raw } of rows) {
      const id = responseIdOf(raw);
      if (id !== null) found.add(id);
    }
  }
  return [...found];
}

function responseIdOf(raw: Uint8Array): string | null {
  try {
    const span = decodeStoredSpan(raw);
    const call = span === null ? null : normalise(span, []);
    return call?.kind === "inference" && call.responseId !== null ? indexableText(call.responseId) : null;
  } catch {
    // What cannot be read has been set aside by assembly, too, and must not keep anybody from being erased.
    return null;
  }
}
