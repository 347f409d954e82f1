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

/** Spans and their events with the content that they refer to as if they had carried it; what cannot be read stays a reference, which its dialect calls damage. */
export async function resolveReferences(tenant: string, { spans, logs }: Referring, reader: ReferenceReader | null): Promise<Referring> {
  if (reader === null) return { spans, logs };
  const resolve = async <T extends { attributes: Attributes }>(record: T): Promise<T> => {
    const found: Record<string, AttributeValue> = {};
    for (const name of REFERENCED) {
      const address = record.attributes[`${name}_ref`];
      if (typeof address !== "string" || record.attributes[name] !== undefined) continue;
      const text = await reader.read(tenant, address);
      if (text !== null) found[name] = text;
    }
    return Object.keys(found).length === 0 ? record : { ...record, attributes: { ...record.attributes, ...found } };
  };
  const resolved: { spans: Span[]; logs: LogEvent[] } = { spans: [], logs: [] };
  for (const span of spans) resolved.spans.push(await resolve(span));
  for (const log of logs) resolved.logs.push(await resolve(log));
  return resolved;
}
