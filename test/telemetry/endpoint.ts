import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { pino, type Logger } from "pino";

export interface Received {
  path: string;
  headers: Record<string, unknown>;
  body: Uint8Array;
}

/** An OTLP/HTTP endpoint on loopback that keeps what it is sent and answers `status`, or nothing at all with `status` null. */
export async function startEndpoint() {
  const received: Received[] = [];
  const waiting: { count: number; resolve: () => void }[] = [];
  const state: { status: number | null } = { status: 200 };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      received.push({ path: request.url ?? "", headers: request.headers, body: Buffer.concat(chunks) });
      if (state.status !== null) response.writeHead(state.status).end();
      for (const each of waiting) if (received.length >= each.count) each.resolve();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    state,
    at: (path: string) => received.filter((request) => request.path === path),
    /** Resolves when `more` requests came after this call. */
    more: (more: number) => new Promise<void>((resolve) => waiting.push({ count: received.length + more, resolve })),
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A log that keeps its lines. */
export function keptLog(): { log: Logger; lines: { level: number; msg: string }[] } {
  const lines: { level: number; msg: string }[] = [];
  return {
    log: pino({ level: "info" }, { write: (line: string) => void lines.push(JSON.parse(line) as { level: number; msg: string }) }),
    lines,
  };
}
