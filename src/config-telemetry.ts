import { z } from "zod";

/** The port that OpenTelemetry's exporters are registered with at Prometheus. */
const PROMETHEUS_PORT = 9464;

/** Where a process's own spans and metrics go. */
export const telemetrySchema = z
  .strictObject({
    otlpEndpoint: z
      .url()
      .optional()
      .describe(
        "Base URL of an OTLP/HTTP endpoint for Nightshift's own spans and metrics. Unset: nothing is sent. OTEL_ variables are not read.",
      ),
    tokenFile: z.string().optional().describe("File with a bearer token for that endpoint."),
    prometheus: z
      .strictObject({
        host: z
          .string()
          .default("127.0.0.1")
          .describe("Address to bind. Whoever reaches it reads all metrics, those of every tenant: they hold slugs and numbers, no text."),
        port: z
          .int()
          .min(0)
          .max(65_535)
          .default(PROMETHEUS_PORT)
          .describe("TCP port of `GET /metrics`; 0 takes a free one, which the log names. Processes on one machine need one each."),
      })
      .optional()
      .describe("Serve the process's metrics for Prometheus to scrape. Unset: nothing listens. Independent of `telemetry.otlpEndpoint`."),
  })
  .prefault({})
  .describe("Nightshift's own telemetry.");

export type TelemetryConfig = z.infer<typeof telemetrySchema>;
