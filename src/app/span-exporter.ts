import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { hidingOtelVariables } from "../telemetry/otel-variables.ts";

/** Sends the gateway's spans of live calls to a collector, with a token of its own: the `OTEL_` variables of the environment are an agent's. */
export function createSpanExporter(
  { collectorUrl, token }: { collectorUrl: string; token: string | undefined },
  { env }: { env: Record<string, string | undefined> },
): OTLPTraceExporter {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return hidingOtelVariables(env, () => new OTLPTraceExporter({ url: `${collectorUrl.replace(/\/+$/, "")}/v1/traces`, headers }));
}
