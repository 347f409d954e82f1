import { listRecords, rawRecord } from "./records.ts";
import { concatBytes, lengthDelimited, type Signal } from "./wire.ts";

/** A piece of a request, a request of its own. */
export interface Part {
  bytes: Uint8Array;
  /** Spans or log records in it. */
  records: number;
  /** One record that is larger than a part may be. */
  isOversized: boolean;
}

/** `resource_spans` of ExportTraceServiceRequest, `resource_logs` of ExportLogsServiceRequest. */
const GROUP_FIELD = 1;

/**
 * Cuts a request between its spans or log records into requests of at most `maxBytes`, in order. Every record takes its resource and scope along, byte for byte,
 * so that the parts decode alone and in any order. One part at a time: with a large resource all of them together are many times the request.
 * @throws NightshiftError `otlp_malformed`
 */
export function* splitRequest(bytes: Uint8Array, signal: Signal, maxBytes: number): Generator<Part, void> {
  let open: Uint8Array[] = [];
  let openBytes = 0;
  for (const range of listRecords(bytes, signal)) {
    const group = lengthDelimited(GROUP_FIELD, [rawRecord(bytes, range)]);
    if (openBytes + group.length > maxBytes && open.length > 0) {
      yield { bytes: concatBytes(open), records: open.length, isOversized: openBytes > maxBytes };
      open = [];
      openBytes = 0;
    }
    open.push(group);
    openBytes += group.length;
  }
  if (open.length > 0) yield { bytes: concatBytes(open), records: open.length, isOversized: openBytes > maxBytes };
}
