import { ExportResultCode, type ExportResult } from "@opentelemetry/core";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider, type ReadableSpan, type SpanExporter } from "@opentelemetry/sdk-trace";
import { SCOPE } from "../../../telemetry.ts";
import type { CaptureLine, Settled } from "./capture.ts";
import { bytesOf } from "./seen.ts";
import { startSpanOf, type AgentTracer } from "./span.ts";

export interface CapturedAgent {
  agent: string;
  /** `service.name` of the agent's own telemetry, so that its gateway spans are matched to it like its other spans. */
  serviceName: string;
  agentName?: string | undefined;
}

/** More than capture ever has pending, so that the processor drops nothing unseen. */
const QUEUE_SIZE = 4_096;
const EXPORT_DELAY_MS = 500;
const SPANS_PER_EXPORT = 64;
/** Collectors refuse large requests. One span may be larger alone. */
const BYTES_PER_REQUEST = 1024 * 1024;

/**
 * Makes spans of what was seen and exports them, in the thread that it is called in. A tracer provider of its own per agent, never the global one: what the
 * process traces about itself must not mix with capture.
 */
export function createEmitter(
  agents: readonly CapturedAgent[],
  deps: { exporter: SpanExporter; settled: (outcome: Settled) => void },
): CaptureLine {
  const bytesBySpan = new WeakMap<object, number>();
  const processor = new BatchSpanProcessor({
    exporter: settlingExporter(deps, bytesBySpan),
    maxQueueSize: QUEUE_SIZE,
    maxExportBatchSize: SPANS_PER_EXPORT,
    scheduledDelayMillis: EXPORT_DELAY_MS,
  });
  const byAgent = new Map(agents.map((agent) => [agent.agent, agentTracer(agent, processor)]));
  return {
    send(seen) {
      const bytes = bytesOf(seen);
      try {
        const to = byAgent.get(seen.agent);
        const started = to === undefined ? null : startSpanOf(seen, to);
        if (started === null) return deps.settled({ count: 1, bytes, problem: null });
        bytesBySpan.set(started.span, bytes);
        started.span.end(started.endMs);
      } catch (cause) {
        deps.settled({ count: 1, bytes, problem: String(cause) });
      }
    },
    // What could not be exported has been settled as such.
    close: () => processor.shutdown().catch(() => undefined),
  };
}

function agentTracer({ serviceName, agentName }: CapturedAgent, processor: BatchSpanProcessor): AgentTracer {
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ "service.name": serviceName }),
    sampler: new AlwaysOnSampler(),
    // Limits from the environment would cut the text in the middle of its JSON.
    spanLimits: { attributeValueLengthLimit: Number.POSITIVE_INFINITY, attributeCountLimit: 128 },
    spanProcessors: [processor],
  });
  return { tracer: provider.getTracer(SCOPE.gateway), agentName: agentName ?? null };
}

/** One request after the other: at shutdown the processor hands over all batches at once, more than an OTLP exporter takes. */
function settlingExporter(
  { exporter, settled }: { exporter: SpanExporter; settled: (outcome: Settled) => void },
  bytesBySpan: WeakMap<object, number>,
): SpanExporter {
  const bytesOfSpan = (span: ReadableSpan): number => bytesBySpan.get(span) ?? 0;
  let running: Promise<void> = Promise.resolve();

  async function exportBatch(previous: Promise<void>, spans: ReadableSpan[], done: (result: ExportResult) => void): Promise<void> {
    await previous;
    let last: ExportResult = { code: ExportResultCode.SUCCESS };
    for (const slice of slicesOf(spans, bytesOfSpan)) {
      last = await exported(exporter, slice);
      const bytes = slice.reduce((sum, span) => sum + bytesOfSpan(span), 0);
      settled({ count: slice.length, bytes, problem: last.error === undefined ? null : String(last.error) });
    }
    done(last);
  }

  return {
    export(spans, done) {
      running = exportBatch(running, spans, done);
    },
    shutdown: () => exporter.shutdown(),
    ...(exporter.forceFlush === undefined ? {} : { forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve() }),
  };
}

function slicesOf(spans: readonly ReadableSpan[], bytesOfSpan: (span: ReadableSpan) => number): ReadableSpan[][] {
  const slices: ReadableSpan[][] = [];
  let bytes = Infinity;
  for (const span of spans) {
    bytes += bytesOfSpan(span);
    if (bytes > BYTES_PER_REQUEST) {
      slices.push([]);
      bytes = bytesOfSpan(span);
    }
    slices.at(-1)?.push(span);
  }
  return slices;
}

/** What became of an export; one that throws has failed. */
function exported(exporter: SpanExporter, spans: ReadableSpan[]): Promise<ExportResult> {
  return new Promise<ExportResult>((resolve) => {
    exporter.export(spans, resolve);
  }).catch((error: Error) => ({ code: ExportResultCode.FAILED, error }));
}
