import { ROOT_CONTEXT, SpanStatusCode, trace, TraceFlags, type Context } from "@opentelemetry/api";
import { ATTRIBUTE, SCOPE, SPAN } from "../telemetry.ts";
import { createHistogram, errorTypeOf, secondsSince } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";

/** Does the work of one durable step inside a span, and times it. */
export type StepMeasure = <T>(at: { runId: string; step: string }, work: () => Promise<T>) => Promise<T>;

export function createStepMeasure(): StepMeasure {
  const tracer = trace.getTracer(SCOPE.own);
  const duration = createHistogram(METRIC.runStepDuration);
  return async ({ runId, step }, work) => {
    const startMs = performance.now();
    // `train-3`, `gate-<scenario>-0`: what follows the kind has no bound.
    const kind = { "nightshift.run.step": step.split("-", 1)[0] ?? step };
    const span = tracer.startSpan(
      SPAN.runStep,
      { attributes: { [ATTRIBUTE.runId]: runId, [ATTRIBUTE.runStepName]: step } },
      runContext(runId),
    );
    try {
      const result = await work();
      duration.record(secondsSince(startMs), kind);
      return result;
    } catch (error) {
      const errorType = errorTypeOf(error);
      // Not `recordException`: a message may hold what a policy server or a judge has said.
      span.setAttribute("error.type", errorType).setStatus({ code: SpanStatusCode.ERROR });
      duration.record(secondsSince(startMs), { ...kind, "error.type": errorType });
      throw error;
    } finally {
      span.end();
    }
  };
}

/** One run is one trace, whichever process does a step: a UUID without its dashes is a trace id. */
function runContext(runId: string): Context {
  const traceId = runId.replaceAll("-", "").toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(traceId) || /^0+$/.test(traceId)) return ROOT_CONTEXT;
  const spanId = traceId.slice(0, 16);
  if (/^0+$/.test(spanId)) return ROOT_CONTEXT;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true });
}
