import { listRecords, rawRecord } from "./records.ts";
import { concatBytes, lengthDelimited, type Signal } from "./wire.ts";

/** A request in pieces, each a request of its own. */
export interface Split {
  parts: Uint8Array[];
  /** Sizes of the records that are larger than a part may be on their own; they are in none. */
  oversized: number[];
}

/** `resource_spans` of ExportTraceServiceRequest, `resource_logs` of ExportLogsServiceRequest. */
const GROUP_FIELD = 1;

/**
 * Cuts a request between its spans or log records into requests of at most `maxBytes`, in order. Every record takes its resource and scope along, byte for byte,
 * so that the parts decode alone and in any order.
 * @throws NightshiftError `otlp_malformed`
 */
export function splitRequest(bytes: Uint8Array, signal: Signal, maxBytes: number): Split {
  const split: Split = { parts: [], oversized: [] };
  let open: Uint8Array[] = [];
  let openBytes = 0;
  const flush = (): void => {
    if (open.length > 0) split.parts.push(concatBytes(open));
    open = [];
    openBytes = 0;
  };
  for (const range of listRecords(bytes, signal)) {
    const group = lengthDelimited(GROUP_FIELD, [rawRecord(bytes, range)]);
    if (group.length > maxBytes) {
      split.oversized.push(group.length);
      continue;
    }
    if (openBytes + group.length > maxBytes) flush();
    open.push(group);
    openBytes += group.length;
  }
  flush();
  return split;
}
