import { SCOPE } from "../../../telemetry.ts";
import { concatBytes } from "../../../trace/wire.ts";
import type { CaptureLine, Settled } from "./capture.ts";
import { createSpanBuffer, type CapturedSpan, type SpanBuffer } from "./otlp-span.ts";
import { bytesOf, type Seen } from "./seen.ts";
import { spanOf } from "./span.ts";

export interface CapturedAgent {
  agent: string;
  /** `service.name` of the agent's own telemetry, so that its gateway spans are matched to it like its other spans. */
  serviceName: string;
  agentName?: string | undefined;
}

/** Sends one OTLP request (a protobuf ExportTraceServiceRequest). Resolves to null when the collector has it, else to why it never will. */
export type SendSpans = (request: Uint8Array) => Promise<string | null>;

const EXPORT_DELAY_MS = 500;
const SPANS_PER_EXPORT = 64;
/** Collectors refuse large requests: one is sent as soon as it is so long, its last span included. */
const BYTES_PER_REQUEST = 512 * 1024;

/** An agent's spans that were written and not sent. */
interface Source {
  spans: SpanBuffer;
  agentName: string | null;
}

/** Makes spans of what was seen and sends them, one request after the other, in the thread that it is called in. */
export function createEmitter(
  agents: readonly CapturedAgent[],
  deps: { sendSpans: SendSpans; settled: (outcome: Settled) => void },
): CaptureLine {
  const sources = new Map<string, Source>(
    agents.map(({ agent, serviceName, agentName }) => [
      agent,
      { spans: createSpanBuffer({ serviceName, scope: SCOPE.gateway }), agentName: agentName ?? null },
    ]),
  );
  /** Of the request that is being written: who has spans in it, its size, and the size of what it was made of. */
  let batch = emptyBatch();
  let timer: NodeJS.Timeout | null = null;
  let sending: Promise<void> = Promise.resolve();

  function flush(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (batch.count === 0) return;
    const { bytesOfSource, count, seenBytes } = batch;
    const request = concatBytes([...bytesOfSource.keys()].map(({ spans }) => spans.take()));
    batch = emptyBatch();
    sending = sending.then(() => sendRequest(request, { count, bytes: seenBytes }));
  }

  async function sendRequest(request: Uint8Array, size: { count: number; bytes: number }): Promise<void> {
    let problem: string | null;
    try {
      problem = await deps.sendSpans(request);
    } catch (cause) {
      problem = String(cause);
    }
    deps.settled({ ...size, problem });
  }

  function add(source: Source, span: CapturedSpan, seenBytes: number): void {
    // A large call travels alone: where the collector does not take it, nothing else is lost with it.
    if (batch.seenBytes + seenBytes > BYTES_PER_REQUEST) flush();
    batch.bytesOfSource.set(source, source.spans.add(span));
    batch.count++;
    batch.seenBytes += seenBytes;
    timer ??= setTimeout(flush, EXPORT_DELAY_MS).unref();
    const bytes = [...batch.bytesOfSource.values()].reduce((sum, each) => sum + each, 0);
    if (batch.count === SPANS_PER_EXPORT || bytes >= BYTES_PER_REQUEST) flush();
  }

  return {
    send(seen: Seen) {
      const bytes = bytesOf(seen);
      try {
        const source = sources.get(seen.agent);
        const span = source === undefined ? null : spanOf(seen, source.agentName);
        if (source === undefined || span === null) deps.settled({ count: 1, bytes, problem: null });
        else add(source, span, bytes);
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

function emptyBatch(): { bytesOfSource: Map<Source, number>; count: number; seenBytes: number } {
  return { bytesOfSource: new Map(), count: 0, seenBytes: 0 };
}
