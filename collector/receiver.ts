import type { Http2Server, Http2Session } from "node:http2";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createSecureContext, type Server as TlsServer } from "node:tls";
import type { Config } from "../src/config.ts";
import { nightshiftError } from "../src/errors.ts";
import { createGrpcServer } from "./grpc.ts";
import { createHttpServer } from "./http.ts";
import { createIntake, type IntakeDeps } from "./intake.ts";
import { readTls, reloadTls, type TlsMaterial } from "./tls.ts";

/** Where a receiver listens; no `grpcPort` when OTLP/gRPC is switched off. */
export interface ReceiverPorts {
  port: number;
  grpcPort: number | null;
}

export interface Receiver {
  /** Binds and answers the ports. @throws NightshiftError `port_taken` */
  start(): Promise<ReceiverPorts>;
  /** Takes no new requests, finishes those under way, then frees the ports. */
  close(): Promise<void>;
}

const DEFAULT_GRPC_PORT = 4317;
const DRAIN_TIMEOUT_MS = 10_000;

/**
 * The OTLP receiver, over HTTP and gRPC: it acknowledges a request only after the transport has it durably.
 * @throws NightshiftError `collector_file_unreadable`, `collector_tls_invalid`
 */
export function createReceiver(config: Config["collector"], deps: IntakeDeps): Receiver {
  const intake = createIntake(config, deps);
  const tls = config.tls === undefined ? null : checked(readTls(config.tls), config.tls.certFile);
  const http = createHttpServer(intake, tls);
  const grpc = config.grpc.enabled ? createGrpcServer(intake, tls) : null;
  const drainGrpc = grpc === null ? null : trackSessions(grpc);
  // Whoever asks for a free port asks for no fixed one.
  const grpcPort = config.grpc.port ?? (config.port === 0 ? 0 : DEFAULT_GRPC_PORT);
  let stopReload = (): void => {};
  return {
    async start() {
      const port = await listen(http, { what: "the collector", host: config.host, port: config.port });
      try {
        const at = grpc === null ? null : await listen(grpc, { what: "the collector's gRPC", host: config.host, port: grpcPort });
        if (config.tls !== undefined) {
          const servers = [http, grpc].filter((server) => server !== null) as unknown as TlsServer[];
          stopReload = reloadTls(config.tls, servers, deps.log);
        }
        return { port, grpcPort: at };
      } catch (error) {
        http.close();
        throw error;
      }
    },
    async close() {
      intake.drain();
      stopReload();
      await Promise.all([drainHttp(http), drainGrpc?.()]);
    },
  };
}

/** Certificate and key that do not fit together are said at the start, not at the first connection. */
function checked(material: TlsMaterial, file: string): TlsMaterial {
  try {
    createSecureContext(material);
    return material;
  } catch (cause) {
    throw nightshiftError("collector_tls_invalid", { file, problem: cause instanceof Error ? cause.message : String(cause) }, { cause });
  }
}

function listen(server: Server | Http2Server, at: { what: string; host: string; port: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      reject(cause.code === "EADDRINUSE" ? nightshiftError("port_taken", at, { cause }) : cause);
    });
    server.listen(at.port, at.host, () => resolve((server.address() as AddressInfo).port));
  });
}

function drainHttp(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_TIMEOUT_MS);
    server.close(() => {
      clearTimeout(deadline);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/** HTTP/2 connections outlive their calls: each is told to go away, and ends with its last call. */
function trackSessions(server: Http2Server): () => Promise<void> {
  const sessions = new Set<Http2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  return () =>
    new Promise((resolve) => {
      const deadline = setTimeout(() => sessions.forEach((session) => session.destroy()), DRAIN_TIMEOUT_MS);
      server.close(() => {
        clearTimeout(deadline);
        resolve();
      });
      for (const session of sessions) session.close();
    });
}
