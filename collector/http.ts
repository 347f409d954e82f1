import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { encodingOf } from "./body.ts";
import type { Intake, Offered } from "./intake.ts";
import { encodeAccepted, encodeAcceptedJson, encodeStatus, Refusal, rpcCodeOf } from "./reply.ts";
import type { TlsMaterial } from "./tls.ts";

/** The two encodings of OTLP/HTTP; an answer uses the request's. */
type Format = "protobuf" | "json";

const PATHS: Readonly<Record<string, Offered>> = { "/v1/traces": "traces", "/v1/logs": "logs", "/v1/metrics": "metrics" };
const CONTENT_TYPE = { protobuf: "application/x-protobuf", json: "application/json" } as const;

/** A sender that needs longer than this for one request is broken or hostile. */
const REQUEST_TIMEOUT_MS = 60_000;

/** OTLP/HTTP: traces, logs and metrics, protobuf and JSON, and `/health`. Not listening yet. */
export function createHttpServer(intake: Intake, tls: TlsMaterial | null): Server {
  const listener = (request: IncomingMessage, response: ServerResponse): void => void answer(request, response, intake);
  return tls === null
    ? createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, listener)
    : createTlsServer({ requestTimeout: REQUEST_TIMEOUT_MS, ...tls }, listener);
}

/** Answers one request, whatever happens. */
async function answer(request: IncomingMessage, response: ServerResponse, intake: Intake): Promise<void> {
  if (request.url === "/health") {
    send(response, intake.isDraining ? 503 : 200, "json", JSON.stringify({ status: intake.isDraining ? "draining" : "ok" }));
    return;
  }
  const startMs = performance.now();
  const signal = PATHS[(request.url ?? "").split("?", 1)[0] ?? ""];
  await answerOtlp(request, response, signal, intake);
  intake.answered("http", signal ?? "unknown", startMs, response.headersSent ? { http: response.statusCode } : {});
}

/** Every failure ends here as a status. */
async function answerOtlp(request: IncomingMessage, response: ServerResponse, signal: Offered | undefined, intake: Intake): Promise<void> {
  const format: Format = mediaType(request) === CONTENT_TYPE.json ? "json" : "protobuf";
  try {
    if (signal === undefined) throw new Refusal(404, "paths are /v1/traces, /v1/logs and /v1/metrics");
    if (request.method !== "POST") throw new Refusal(405, "OTLP requests are POST", { headers: { allow: "POST" } });
    const tenant = intake.admit(request.headers.authorization);
    if (mediaType(request) !== CONTENT_TYPE[format]) {
      throw new Refusal(415, `content-type must be ${CONTENT_TYPE.protobuf} or ${CONTENT_TYPE.json}`);
    }
    const incoming = {
      // Leaving the loop early must not destroy the request: its socket still has to carry the refusal.
      chunks: request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>,
      encoding: encodingOf(request.headers["content-encoding"]),
      declaredBytes: Number(request.headers["content-length"] ?? 0),
    };
    const { rejected, problem } = await intake.take(incoming, { tenant, signal, format });
    send(response, 200, format, format === "json" ? encodeAcceptedJson(signal, rejected, problem) : encodeAccepted(rejected, problem));
  } catch (cause) {
    refuse(request, response, format, cause, intake);
  }
}

function refuse(request: IncomingMessage, response: ServerResponse, format: Format, cause: unknown, intake: Intake): void {
  // The sender went away in the middle: nobody is left to answer.
  if (request.socket.destroyed || response.headersSent) return;
  const refusal = intake.refusalOf(cause);
  // The rest of the body is read and thrown away: a closed socket would hide the answer from a sender that is still writing.
  request.resume();
  response.shouldKeepAlive = request.complete;
  const code = rpcCodeOf(refusal.status);
  const body = format === "json" ? JSON.stringify({ code, message: refusal.message }) : encodeStatus(code, refusal);
  const retry = refusal.retryAfterMs === null ? {} : { "retry-after": String(Math.max(1, Math.ceil(refusal.retryAfterMs / 1_000))) };
  send(response, refusal.status, format, body, { ...refusal.headers, ...retry });
}

function mediaType(request: IncomingMessage): string {
  return (request.headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

function send(
  response: ServerResponse,
  status: number,
  format: Format,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { "content-type": CONTENT_TYPE[format], "content-length": Buffer.byteLength(body), ...headers });
  response.end(body);
}
