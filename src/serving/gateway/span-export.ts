import { setImmediate as otherWork } from "node:timers/promises";
import type { Tracer } from "@opentelemetry/api";
import { ExportResultCode, type ExportResult } from "@opentelemetry/core";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { AlwaysOnSampler, BatchSpanProcessor, TracerProvider, type ReadableSpan, type SpanExporter } from "@opentelemetry/sdk-trace";
import type { Logger } from "../../log.ts";
import { SCOPE } from "../../telemetry.ts";
import { createCounter } from "../../telemetry/instruments.ts";
import { METRIC } from "../../telemetry/metrics.ts";

/** Where spans of live calls go. Bounded in spans and bytes: what does not fit is dropped and counted, and no call ever waits for it. */
export interface CaptureSink {
  /** The agent's tracer, on which exactly one span with `bytes` of text is started now; null when there is no room for it. */
  admit(agent: string, bytes: number): Tracer | null;
  agentName(agent: string): string | null;
  /** Exports what is waiting, then shuts the exporter down. Never rejects. */
  close(): Promise<void>;
}

export interface CapturedAgent {
  agent: string;
  /** `service.name` of the agent's own telemetry, so that its gateway spans are matched to it like its other spans. */
  serviceName: string;
  agentName?: string | undefined;
}

const MAX_PENDING_SPANS = 2_048;
const MAX_PENDING_BYTES = 128 * 1024 * 1024;
const EXPORT_DELAY_MS = 500;
const SPANS_PER_EXPORT = 64;
/** Encoding a span takes 0.05 ms or more of the thread that relays calls: of so many at once, a call that comes meanwhile feels little. */
const SPANS_PER_REQUEST = 8;

/** A tracer provider of its own per agent, never the global one: what the process traces about itself must not mix with capture. */
export function createCaptureSink(agents: readonly CapturedAgent[], deps: { exporter: SpanExporter; log: Logger }): CaptureSink {
  const pending = createPending(deps.log);
  const processor = new BatchSpanProcessor({
    exporter: countingExporter(deps.exporter, pending, deps.log),
    maxQueueSize: MAX_PENDING_SPANS,
    maxExportBatchSize: SPANS_PER_EXPORT,
    scheduledDelayMillis: EXPORT_DELAY_MS,
  });
  const byAgent = new Map(
    agents.map(({ agent, serviceName, agentName }) => {
      const provider = new TracerProvider({
        resource: resourceFromAttributes({ "service.name": serviceName }),
        sampler: new AlwaysOnSampler(),
        // Limits from the environment would cut the text in the middle of its JSON.
        spanLimits: { attributeValueLengthLimit: Number.POSITIVE_INFINITY, attributeCountLimit: 128 },
        spanProcessors: [processor],
      });
      return [agent, { tracer: provider.getTracer(SCOPE.gateway), agentName: agentName ?? null }];
    }),
  );
  return {
    admit: (agent, bytes) => (pending.add(bytes) ? (byAgent.get(agent)?.tracer ?? null) : null),
    agentName: (agent) => byAgent.get(agent)?.agentName ?? null,
    async close() {
      try {
        await processor.shutdown();
      } catch (cause) {
        deps.log.warn({ err: cause }, "last live calls not exported");
      }
    },
  };
}

function createPending(log: Logger) {
  let spans = 0;
  let bytes = 0;
  let dropped = 0;
  const lost = createCounter(METRIC.gatewayCaptureLost);
  return {
    add(size: number): boolean {
      if (spans >= MAX_PENDING_SPANS || bytes + size > MAX_PENDING_BYTES) {
        dropped++;
        lost.add(1, { "nightshift.reason": "no_room" });
        if (dropped === 1) log.warn({ pendingSpans: spans, pendingBytes: bytes }, "live calls not captured");
        return false;
      }
      spans++;
      bytes += size;
      return true;
    },
    remove(count: number, size: number): void {
      spans -= count;
      bytes -= size;
      if (dropped > 0) log.warn({ dropped }, "live calls were not captured");
      dropped = 0;
    },
  };
}

/** One batch after the other, in slices; what a slice held is no longer pending once the slice is over. */
function countingExporter(exporter: SpanExporter, pending: ReturnType<typeof createPending>, log: Logger): SpanExporter {
  const lost = createCounter(METRIC.gatewayCaptureLost);
  let running: Promise<void> = Promise.resolve();

  async function exportSlice(spans: ReadableSpan[]): Promise<ExportResult> {
    const result = await exported(exporter, spans);
    pending.remove(
      spans.length,
      spans.reduce((sum, span) => sum + textBytes(span), 0),
    );
    if (result.error !== undefined) {
      lost.add(spans.length, { "nightshift.reason": "export_failed" });
      log.warn({ spans: spans.length, err: result.error }, "live calls not exported");
    }
    return result;
  }

  async function exportBatch(previous: Promise<void>, spans: ReadableSpan[], done: (result: ExportResult) => void): Promise<void> {
    await previous;
    const slices: Promise<ExportResult>[] = [];
    for (let from = 0; from < spans.length; from += SPANS_PER_REQUEST) {
      if (from > 0) await otherWork();
      slices.push(exportSlice(spans.slice(from, from + SPANS_PER_REQUEST)));
    }
    const results = await Promise.all(slices);
    done(results.find(({ error }) => error !== undefined) ?? { code: ExportResultCode.SUCCESS });
  }

  return {
    export(spans, done) {
      running = exportBatch(running, spans, done);
    },
    shutdown: () => exporter.shutdown(),
    ...(exporter.forceFlush === undefined ? {} : { forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve() }),
  };
}

/** What became of an export; one that throws has failed. */
function exported(exporter: SpanExporter, spans: ReadableSpan[]): Promise<ExportResult> {
  return new Promise<ExportResult>((resolve) => {
    exporter.export(spans, resolve);
  }).catch((error: Error) => ({ code: ExportResultCode.FAILED, error }));
}

/** The same sum that `admit` was given. */
function textBytes(span: ReadableSpan): number {
  let bytes = 0;
  for (const name of ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions"]) {
    const value = span.attributes[name];
    if (typeof value === "string") bytes += value.length;
  }
  return bytes;
}
