/**
 * The production agent of the quickstart: a small HTTP service that answers the shop's customers with a model and three tools.
 * It knows nothing of Nightshift. `OPENAI_BASE_URL` says where the model is, `OTEL_EXPORTER_OTLP_ENDPOINT` where telemetry goes.
 */
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import OpenAI from "openai";
import { z } from "zod";
import { startTelemetry } from "./agent-telemetry.ts";
import { converse, type AgentOptions } from "./conversation.ts";

const requestSchema = z.object({ conversationId: z.string(), userId: z.string(), message: z.string().max(4000) });

const telemetry = startTelemetry();
const environment = process.env;
const options: AgentOptions = {
  // The API key and the base URL come from the environment, as the package reads them.
  client: new OpenAI({ timeout: 60_000, maxRetries: 2 }),
  model: environment["MODEL"] ?? "shop-support",
  shopUrl: environment["SHOP_URL"] ?? "http://127.0.0.1:8090",
  temperature: Number(environment["TEMPERATURE"] ?? "0.6"),
  maxModelCalls: 6,
  maxTokens: 64,
  captureContent: environment["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] === "true",
};

const app = new Hono();
app.get("/health", (context) => context.text("ok"));
app.post("/conversations", async (context) => {
  const parsed = requestSchema.safeParse(await context.req.json().catch(() => null));
  if (!parsed.success) return context.json({ error: z.prettifyError(parsed.error) }, 400);
  return context.json(await converse(parsed.data, options));
});

const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(environment["PORT"] ?? "8080") }, ({ port }) => {
  process.stdout.write(`${JSON.stringify({ event: "ready", url: `http://127.0.0.1:${port}` })}\n`);
});

// Longer than any client keeps an idle connection: one that the server closes first can swallow a call.
if ("keepAliveTimeout" in server) server.keepAliveTimeout = 65_000;

/** Answers what is under way, then sends the last spans. */
function drain(): void {
  server.close(() => {
    telemetry.shutdown().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
}
process.once("SIGTERM", drain);
process.once("SIGINT", drain);
