import { OpenAIInstrumentation } from "@arizeai/openinference-instrumentation-openai";
import { SpanStatusCode, trace, type Attributes, type Span } from "@opentelemetry/api";
import { NodeSDK } from "@opentelemetry/sdk-node";
import OpenAI from "openai";

/** Starts the OpenTelemetry SDK, configured by its own environment variables only. Resolves `shutdown` when everything is exported. */
export function startTelemetry(): { shutdown(): Promise<void> } {
  const instrumentation = new OpenAIInstrumentation();
  // ES modules cannot be patched on import: the instrumentation's documentation asks for this call.
  instrumentation.manuallyInstrument(OpenAI);
  const sdk = new NodeSDK({ instrumentations: [instrumentation] });
  sdk.start();
  return { shutdown: () => sdk.shutdown() };
}

/** Runs `work` inside a span; what it throws is recorded on the span and thrown on. */
export async function inSpan<T>(name: string, attributes: Attributes, work: (span: Span) => Promise<T>): Promise<T> {
  return trace.getTracer("shop-support").startActiveSpan(name, { attributes }, async (span) => {
    try {
      return await work(span);
    } catch (error) {
      markFailed(span, error instanceof Error ? error.name : "unknown");
      throw error;
    } finally {
      span.end();
    }
  });
}

export function markFailed(span: Span, errorType: string): void {
  span.setAttribute("error.type", errorType);
  span.setStatus({ code: SpanStatusCode.ERROR });
}
