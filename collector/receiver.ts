import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ArtifactStore } from "../src/artifact/artifact-store.ts";
import type { Config } from "../src/config.ts";
import { nightshiftError } from "../src/errors.ts";
import type { Logger } from "../src/log.ts";
import { encodeJsonRequest } from "../src/trace/otlp-json.ts";
import { createCounter, createHistogram, secondsSince } from "../src/telemetry/instruments.ts";
import { METRIC } from "../src/telemetry/metrics.ts";
import type { Redactor } from "../src/trace/redact-request.ts";
import type { Signal } from "../src/trace/wire.ts";
import type { Transport } from "../src/transport/transport.ts";
import { createBudget, readBody, type Budget } from "./body.ts";
import { publishRequest, refuseMalformed } from "./publish.ts";
import { Refusal, sendAccepted, sendRefusal, unavailable, type Format } from "./reply.ts";
import type { TenantOf } from "./tenant.ts";

export interface Receiver {
  /** Binds and answers the port. @throws NightshiftError `port_taken` */
  start(): Promise<{ port: number }>;
  /** Takes no new requests, finishes those under way, then frees the port. */
  close(): Promise<void>;
}

export interface ReceiverDeps {
  transport: Transport;
  /** For what is larger than a record of the transport. */
  artifacts: ArtifactStore;
  log: Logger;
  /** Null when redaction is switched off on purpose. */
  redactor: Redactor | null;
  tenant: TenantOf;
  /** Milliseconds since the epoch; tests set it. */
  now?: () => number;
}

const PATHS: Readonly<Record<string, Signal | "metrics">> = { "/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics" };

/** A sender that needs longer than this for one request is broken or hostile. */
const REQUEST_TIMEOUT_MS = 60_000;
const DRAIN_TIMEOUT_MS = 10_000;

/**
 * The OTLP/HTTP receiver: traces and logs, protobuf and JSON, one port. It answers 200 only after the transport has the request durably.
 * Metrics are answered and dropped, so that an SDK which exports all three does not complain.
 */
export function createReceiver(config: Config["collector"], deps: ReceiverDeps): Receiver {
  const budget = createBudget(config.maxInFlightBytes);
  const state = { draining: false };
  const meters = createMeters();
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    void answer(request, response, { config, deps, budget, state, meters });
  });
  return {
    start: () => listen(server, config),
    close: () => {
      state.draining = true;
      return drain(server);
    },
  };
}

interface Context {
  config: Config["collector"];
  deps: ReceiverDeps;
  budget: Budget;
  state: { draining: boolean };
  meters: ReturnType<typeof createMeters>;
}

function createMeters() {
  return { records: createCounter(METRIC.collectorRecords), duration: createHistogram(METRIC.collectorRequestDuration) };
}

/** Answers one request, whatever happens. */
async function answer(request: IncomingMessage, response: ServerResponse, context: Context): Promise<void> {
  if (request.url === "/health") {
    response.writeHead(context.state.draining ? 503 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify({ status: context.state.draining ? "draining" : "ok" }));
    return;
  }
  const startMs = performance.now();
  await answerOtlp(request, response, context);
  const status = response.headersSent ? { "http.response.status_code": response.statusCode } : {};
  context.meters.duration.record(secondsSince(startMs), { "nightshift.signal": signalOf(request) ?? "unknown", ...status });
}

/** Every failure ends here as a status. */
async function answerOtlp(request: IncomingMessage, response: ServerResponse, context: Context): Promise<void> {
  const lease = { bytes: 0 };
  const format: Format = isJson(request) ? "json" : "protobuf";
  try {
    const { signal, tenant } = admit(request, context);
    const body = await readBody(request, { maxBytes: context.config.maxBodyBytes, budget: context.budget }, lease);
    if (signal === "metrics") {
      sendAccepted(response, format, signal, 0, "");
      return;
    }
    const receivedAtMs = (context.deps.now ?? Date.now)();
    const message =
      format === "json"
        ? { bytes: refuseMalformed(() => encodeJsonRequest(body.bytes, signal)), wire: null }
        : { bytes: body.bytes, wire: body };
    const { accepted, rejected, problem } = await publishRequest(message, { tenant, signal, receivedAtMs }, context.deps);
    context.meters.records.add(accepted, { "nightshift.signal": signal, "nightshift.outcome": "accepted" });
    context.meters.records.add(rejected, { "nightshift.signal": signal, "nightshift.outcome": "rejected" });
    if (rejected > 0) context.deps.log.warn({ tenant, signal, rejected }, "records rejected");
    sendAccepted(response, format, signal, rejected, problem);
  } catch (cause) {
    refuse(request, response, format, cause, context);
  } finally {
    context.budget.release(lease.bytes);
  }
}

/** What can be said before a byte of the body is read. */
function admit(request: IncomingMessage, context: Context): { signal: Signal | "metrics"; tenant: string } {
  const signal = signalOf(request);
  if (signal === undefined) throw new Refusal(404, "paths are /v1/traces, /v1/logs and /v1/metrics");
  if (request.method !== "POST") throw new Refusal(405, "OTLP requests are POST", { allow: "POST" });
  if (context.state.draining) throw unavailable("shutting down", 1_000);
  const tenant = context.deps.tenant(request.headers.authorization);
  if (tenant === null) throw new Refusal(401, "a bearer token of a tenant is required", { "www-authenticate": "Bearer" });
  const contentType = mediaType(request);
  if (contentType !== "application/x-protobuf" && contentType !== "application/json") {
    throw new Refusal(415, "content-type must be application/x-protobuf or application/json");
  }
  return { signal, tenant };
}

function refuse(request: IncomingMessage, response: ServerResponse, format: Format, cause: unknown, context: Context): void {
  // The sender went away in the middle: nobody is left to answer.
  if (request.socket.destroyed || response.headersSent) return;
  const refusal = cause instanceof Refusal ? cause : new Refusal(500, "the request could not be processed");
  if (!(cause instanceof Refusal)) context.deps.log.error({ err: cause }, "request failed");
  // The rest of the body is read and thrown away: a closed socket would hide the answer from a sender that is still writing.
  request.resume();
  response.shouldKeepAlive = request.complete;
  sendRefusal(response, format, refusal);
}

function signalOf(request: IncomingMessage): Signal | "metrics" | undefined {
  return PATHS[(request.url ?? "").split("?", 1)[0] ?? ""];
}

function mediaType(request: IncomingMessage): string {
  return (request.headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

function isJson(request: IncomingMessage): boolean {
  return mediaType(request) === "application/json";
}

function listen(server: Server, at: { host: string; port: number }): Promise<{ port: number }> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      reject(cause.code === "EADDRINUSE" ? nightshiftError("port_taken", { what: "the collector", ...at }, { cause }) : cause);
    });
    server.listen(at.port, at.host, () => resolve({ port: (server.address() as AddressInfo).port }));
  });
}

function drain(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_TIMEOUT_MS);
    server.close(() => {
      clearTimeout(deadline);
      resolve();
    });
    server.closeIdleConnections();
  });
}
