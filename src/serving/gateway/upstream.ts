import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";

/** One request to a policy server. */
export interface UpstreamRequest {
  method: "GET" | "POST";
  path: string;
  headers: OutgoingHttpHeaders;
  body: Buffer | null;
  signal: AbortSignal;
}

/** The head of an answer; `body` is still to be read, and paused until then. */
export interface Answer {
  statusCode: number;
  headers: IncomingMessage["headers"];
  body: IncomingMessage;
}

export type Sent =
  | { status: "answered"; answer: Answer }
  /** "connect": nothing of the request was sent. */
  | { status: "failed"; kind: "connect" | "timeout" | "broken" }
  | { status: "aborted" };

/**
 * Connections to one policy server, kept alive between calls. Node's own client: undici 7 waits for another turn of the event loop before it writes on a connection that
 * was idle, which at the peak of a fleet's streams is a millisecond, a third of what a call pays here.
 */
export interface UpstreamConnections {
  /** Resolves when the answer's head is there. An aborted `signal` also ends a body that is being read. */
  send(request: UpstreamRequest): Promise<Sent>;
  /** Cuts what is open. */
  close(): void;
}

const CONNECT_TIMEOUT_MS = 2_000;
/** An idle connection is closed before the server may do so, which is after five seconds in vLLM unless the server says otherwise. */
const IDLE_MS = 4_000;
const LONGEST_IDLE_MS = 600_000;
/** An error body up to so many bytes is read, so that its connection can be used again. */
const MAX_DISCARDED_BYTES = 65_536;
/** No server was reached. */
const UNREACHED: ReadonlySet<string> = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

/** @param timeoutMs longest silence of a server that was asked, before its answer or within it */
export function connectUpstream({ protocol, hostname, port }: URL, { timeoutMs }: { timeoutMs: number }): UpstreamConnections {
  const isTls = protocol === "https:";
  const agent = isTls ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  // An address in brackets is how a URL writes IPv6, not what is connected to.
  const target = { agent, hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port, timeout: timeoutMs };
  const start = isTls ? httpsRequest : httpRequest;
  let idleMs = IDLE_MS;
  agent.on("free", (socket: Socket) => socket.setTimeout(idleMs));

  return {
    send({ method, path, headers, body, signal }) {
      return new Promise((resolve) => {
        if (signal.aborted) return resolve({ status: "aborted" });
        const request = start({ ...target, method, path, headers });
        let kind: "connect" | "timeout" | "broken" = "broken";
        let answered: IncomingMessage | null = null;
        const giveUp = (why: typeof kind): void => {
          kind = why;
          request.destroy();
        };
        const abort = (): void => {
          // At once: the gateway may be closing, and what became of this call is to be captured before.
          resolve({ status: "aborted" });
          giveUp("broken");
        };
        const silent = (): void => {
          // A client that does not read holds up its server, which is well.
          if (answered?.isPaused() === true) answered.socket.setTimeout(timeoutMs, silent);
          else giveUp("timeout");
        };
        signal.addEventListener("abort", abort);
        request.on("timeout", silent);
        request.once("socket", (socket) => {
          if (!request.reusedSocket) limitConnecting(socket, isTls, () => giveUp("connect"));
        });
        request.once("response", (body) => {
          answered = body;
          idleMs = promisedIdleMs(body.headers["keep-alive"]) ?? IDLE_MS;
          resolve({ status: "answered", answer: { statusCode: body.statusCode ?? 0, headers: body.headers, body } });
        });
        request.on("error", (cause: NodeJS.ErrnoException) => {
          resolve({ status: "failed", kind: UNREACHED.has(cause.code ?? "") ? "connect" : kind });
        });
        request.once("close", () => signal.removeEventListener("abort", abort));
        request.end(body);
      });
    },
    close: () => agent.destroy(),
  };
}

function limitConnecting(socket: Socket, isTls: boolean, giveUp: () => void): void {
  const limit = setTimeout(giveUp, CONNECT_TIMEOUT_MS);
  const stop = (): void => clearTimeout(limit);
  socket.once(isTls ? "secureConnect" : "connect", stop);
  socket.once("close", stop);
}

/** `Keep-Alive: timeout=5`: how long the server keeps an idle connection, less a second for what is on its way; null where it does not say. */
function promisedIdleMs(header: string | string[] | undefined): number | null {
  const seconds = /^timeout=(\d{1,6})/.exec(String(header))?.[1];
  return seconds === undefined ? null : Math.min(LONGEST_IDLE_MS, Math.max(1, Number(seconds) * 1_000 - 1_000));
}

/** Reads what nobody wants. */
export function discard({ body }: Answer): void {
  let bytes = 0;
  body.on("error", () => undefined);
  body.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > MAX_DISCARDED_BYTES) body.destroy();
  });
}
