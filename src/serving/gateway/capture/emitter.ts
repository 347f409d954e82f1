import { SCOPE } from "../../../telemetry.ts";
import type { CaptureLine, Settled } from "./capture.ts";
import { createSpanWriter, requestOf, type SpanSource } from "./otlp-span.ts";
import { bytesOf, type Seen } from "./seen.ts";
import { spanOf } from "./span.ts";

export interface CapturedAgent {
  agent: string;
  /** `service.name` of the agent's own telemetry, so that its gateway spans are matched to it like its other spans. */
  serviceName: string;
  agentName?: string | undefined;
}

/** Sends one OTLP request (a protobuf ExportTraceServiceRequest). Resolves to null when the collector has it, else to why it never will. */
export type SendSpans = (request: Uint8Array<ArrayBuffer>) => Promise<string | null>;

const EXPORT_DELAY_MS = 500;
const SPANS_PER_EXPORT = 64;
/** Collectors refuse large requests. One span may be larger alone. */
const BYTES_PER_REQUEST = 1024 * 1024;

/** Written spans that will be one request. `seenBytes` is what they were made of. */
interface Batch {
  bySource: Map<SpanSource, Uint8Array[]>;
  count: number;
  bytes: number;
  seenBytes: number;
}

/** Makes spans of what was seen and sends them, one request after the other, in the thread that it is called in. */
export function createEmitter(
  agents: readonly CapturedAgent[],
  deps: { sendSpans: SendSpans; settled: (outcome: Settled) => void },
): CaptureLine {
  const sources = new Map(
    agents.map(({ agent, serviceName, agentName }) => [agent, { serviceName, scope: SCOPE.gateway, agentName: agentName ?? null }]),
  );
  const writer = createSpanWriter();
  let batch = emptyBatch();
  let timer: NodeJS.Timeout | null = null;
  let sending: Promise<void> = Promise.resolve();

  function flush(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (batch.count === 0) return;
    const full = batch;
    batch = emptyBatch();
    sending = sending.then(() => sendBatch(full));
  }

  async function sendBatch({ bySource, count, seenBytes }: Batch): Promise<void> {
    let problem: string | null;
    try {
      problem = await deps.sendSpans(Buffer.concat([...bySource].map(([source, spans]) => requestOf(source, spans))));
    } catch (cause) {
      problem = String(cause);
    }
    deps.settled({ count, bytes: seenBytes, problem });
  }

  function add(source: SpanSource, span: Uint8Array, seenBytes: number): void {
    if (batch.bytes + span.length > BYTES_PER_REQUEST) flush();
    const spans = batch.bySource.get(source);
    if (spans === undefined) batch.bySource.set(source, [span]);
    else spans.push(span);
    batch.count++;
    batch.bytes += span.length;
    batch.seenBytes += seenBytes;
    timer ??= setTimeout(flush, EXPORT_DELAY_MS).unref();
    if (batch.count === SPANS_PER_EXPORT) flush();
  }

  return {
    send(seen: Seen) {
      const bytes = bytesOf(seen);
      try {
        const source = sources.get(seen.agent);
        const span = source === undefined ? null : spanOf(seen, source.agentName);
        if (source === undefined || span === null) deps.settled({ count: 1, bytes, problem: null });
        else add(source, writer.write(span), bytes);
      } catch (cause) {
        deps.settled({ count: 1, bytes, problem: String(cause) });
      }
    },
    close() {
      flush();
      return sending;
    },
  };
}

function emptyBatch(): Batch {
  return { bySource: new Map(), count: 0, bytes: 0, seenBytes: 0 };
}
