import type { LogEvent, Span } from "../trace/span.ts";
import type { AttributeValue, Attributes } from "../trace/span.ts";

/**
 * Content that an SDK uploaded instead of sending it: `gen_ai.input.messages_ref` holds the address of what `gen_ai.input.messages` would have held. Not in the
 * conventions yet; OpenTelemetry's upload hook for Python stamps these.
 */
const REFERENCED = ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions"] as const;

/** Reads what references point at, where an operator allows it. */
export interface ReferenceReader {
  /**
   * The text behind an address, redacted like what a collector takes in; null when it is not below a prefix of the tenant, is not there, or is no text of a
   * permitted size. @throws NightshiftError that is retryable when it may be read later
   */
  read(tenant: string, address: string): Promise<string | null>;
}

export interface Referring {
  spans: readonly Span[];
  logs: readonly LogEvent[];
}

/** How much may be held of what references point at. One text more than that may be: it is counted when it has been read. */
export interface ReferenceBudget {
  /** Characters; a text counts for every reference to it, since every call reads its own messages from it. */
  left: number;
  /** Whether there were references that could not be looked up for want of it. */
  isSpent: boolean;
}

/**
 * Spans and their events with the content that they refer to as if they had carried it, in the order of time; what cannot be read, or is more than the budget has, stays a reference, which its
 * dialect calls damage. Takes what it holds from the budget.
 */
export async function resolveReferences(
  tenant: string,
  { spans, logs }: Referring,
  reader: ReferenceReader,
  budget: ReferenceBudget,
): Promise<Referring> {
  const known = new Map<string, string | null>();
  const lookUp = async (address: string): Promise<string | null> => {
    if (budget.left <= 0) budget.isSpent = true;
    if (budget.isSpent) return null;
    let text = known.get(address);
    if (text === undefined) known.set(address, (text = await reader.read(tenant, address)));
    budget.left -= text?.length ?? 0;
    return text;
  };
  const resolve = async <T extends { attributes: Attributes }>(record: T): Promise<T> => {
    const found: Record<string, AttributeValue> = {};
    for (const name of REFERENCED) {
      const address = record.attributes[`${name}_ref`];
      if (typeof address !== "string" || record.attributes[name] !== undefined) continue;
      const text = await lookUp(address);
      if (text !== null) found[name] = text;
    }
    return Object.keys(found).length === 0 ? record : { ...record, attributes: { ...record.attributes, ...found } };
  };
  const resolved: { spans: Span[]; logs: LogEvent[] } = { spans: [], logs: [] };
  // The store has no order, and what is beyond the budget must be the same whenever one looks.
  const orderedSpans = spans.toSorted(
    (a, b) => ascending(a.startNs, b.startNs) || ascending(a.traceId, b.traceId) || ascending(a.spanId, b.spanId),
  );
  const orderedLogs = logs.toSorted((a, b) => ascending(a.timeNs, b.timeNs) || ascending(a.sequence ?? 0n, b.sequence ?? 0n));
  for (const span of orderedSpans) resolved.spans.push(await resolve(span));
  for (const log of orderedLogs) resolved.logs.push(await resolve(log));
  return resolved;
}

function ascending<T extends bigint | string>(one: T, other: T): number {
  return one === other ? 0 : one < other ? -1 : 1;
}
