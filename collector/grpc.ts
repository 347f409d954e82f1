import {
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { ACCEPTED_ENCODINGS, encodingOf } from "./body.ts";
import { readMessage, writeMessage } from "./grpc-message.ts";
import type { Intake, Offered } from "./intake.ts";
import { encodeAccepted, encodeStatus, Refusal, rpcCodeOf } from "./reply.ts";
import type { TlsMaterial } from "./tls.ts";

const METHODS: Readonly<Record<string, Offered>> = {
  "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "traces",
  "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "logs",
  "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "metrics",
};

const OK = 0;
const UNIMPLEMENTED = 12;
const CONTENT_TYPE = "application/grpc";

/** A sender that needs longer than this for one request is broken or hostile. */
const REQUEST_TIMEOUT_MS = 60_000;
/** Unread bytes per call and per connection: HTTP/2's default of 64 KiB would stop a batch of LLM spans every few spans. */
const STREAM_WINDOW_BYTES = 1024 * 1024;
const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;
const MAX_CONCURRENT_CALLS = 128;

/**
 * OTLP/gRPC: the three Export calls. Only what they need of gRPC is here: unary calls of one message each way. A gRPC library would take and inflate a message before anybody is asked, so
 * that neither could bytes be bounded as they come nor the sender's own compression travel on. Not listening yet.
 */
export function createGrpcServer(intake: Intake, tls: TlsMaterial | null): Http2Server {
  const settings = { initialWindowSize: STREAM_WINDOW_BYTES, maxConcurrentStreams: MAX_CONCURRENT_CALLS };
  const server = tls === null ? createServer({ settings }) : createSecureServer({ settings, ...tls });
  server.on("session", (session) => {
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    // A peer that breaks the protocol loses its connection, nobody else's.
    session.on("error", () => session.destroy());
  });
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void answer(stream, headers, intake));
  return server;
}

/** Answers one call, whatever happens. */
async function answer(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, intake: Intake): Promise<void> {
  const startMs = performance.now();
  // Errors of the stream reach whoever reads it; a stream that nobody reads any more must not end the process.
  stream.on("error", () => {});
  const timer = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), REQUEST_TIMEOUT_MS);
  const signal = METHODS[headers[":path"] ?? ""];
  // Whatever goes wrong with a stream that is being closed, it is this call's end and nobody else's.
  const code = await answerCall(stream, headers, signal, intake).catch(() => null);
  clearTimeout(timer);
  intake.answered("grpc", signal ?? "unknown", startMs, code === null ? {} : { grpc: code });
}

/** Resolves to the status that was answered, null when the sender had gone. */
async function answerCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  signal: Offered | undefined,
  intake: Intake,
): Promise<number | null> {
  if (!(headers["content-type"] ?? "").startsWith(CONTENT_TYPE)) {
    stream.respond({ ":status": 415 }, { endStream: true });
    return null;
  }
  try {
    if (signal === undefined) throw new Refusal(404, "the only method is Export of the trace, logs and metrics services");
    const tenant = intake.admit(headers["authorization"]);
    const encoding = encodingOf(first(headers["grpc-encoding"]));
    const { rejected, problem } = await intake.take(await readMessage(stream, encoding), { tenant, signal, format: "protobuf" });
    if (stream.destroyed || stream.closed) return null;
    stream.respond(HEADERS, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": String(OK) }));
    stream.end(writeMessage(encodeAccepted(rejected, problem)));
    return OK;
  } catch (cause) {
    return refuse(stream, cause, intake);
  }
}

const HEADERS = { ":status": 200, "content-type": CONTENT_TYPE, "grpc-accept-encoding": ACCEPTED_ENCODINGS };

/** Sends the trailers alone. */
function refuse(stream: ServerHttp2Stream, cause: unknown, intake: Intake): number | null {
  if (stream.destroyed || stream.closed || stream.headersSent) return null;
  const refusal = intake.refusalOf(cause);
  const code = codeOf(refusal.status);
  stream.respond(
    {
      ...HEADERS,
      "grpc-status": String(code),
      "grpc-message": encodeURIComponent(refusal.message),
      "grpc-status-details-bin": Buffer.from(encodeStatus(code, refusal)).toString("base64"),
    },
    { endStream: true },
  );
  // Says to a sender that is still writing: the answer stands, save yourself the rest.
  if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
  return code;
}

/** What gRPC says differently from OTLP/HTTP: a method or an encoding that is not there is not implemented. */
function codeOf(status: number): number {
  return status === 404 || status === 415 ? UNIMPLEMENTED : rpcCodeOf(status);
}

function first(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
