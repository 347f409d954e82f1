import type { ServerResponse } from "node:http";
import type { Dispatcher } from "undici";

/** How a relayed body ended. */
export type RelayEnd = "complete" | "upstream_broke" | "client_left";

const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Headers that may cross a proxy (RFC 9110 §7.6.1), without those named in `connection` and in `without`. */
export function endToEnd(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  without: ReadonlySet<string>,
): Record<string, string | string[]> {
  const connection = headers["connection"];
  const named =
    typeof connection === "string"
      ? connection
          .toLowerCase()
          .split(",")
          .map((name) => name.trim())
      : [];
  const kept: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || HOP_BY_HOP.has(name) || without.has(name) || named.includes(name)) continue;
    kept[name] = value;
  }
  return kept;
}

const OWN_HEADERS: ReadonlySet<string> = new Set(["x-request-id", "x-nightshift-adapter", "x-nightshift-arm"]);

export function isEventStream(answer: Dispatcher.ResponseData): boolean {
  return String(answer.headers["content-type"]).startsWith("text/event-stream");
}

/**
 * Sends an upstream's answer on, byte for byte, no faster than the client reads it. `seen` gets every chunk after it was handed to the client;
 * it must not change it. An upstream that breaks off cuts the client's connection too, so that a short answer never looks whole.
 */
export function relay(
  answer: Dispatcher.ResponseData,
  response: ServerResponse,
  options: { headers: Readonly<Record<string, string>>; seen: (chunk: Buffer) => void },
): Promise<RelayEnd> {
  const { body } = answer;
  return new Promise((resolve) => {
    let isSettled = false;
    const settle = (end: RelayEnd) => {
      if (isSettled) return;
      isSettled = true;
      resolve(end);
    };
    if (response.destroyed) {
      body.on("error", () => undefined).destroy();
      settle("client_left");
      return;
    }
    response.writeHead(answer.statusCode, { ...endToEnd(answer.headers, OWN_HEADERS), ...options.headers });
    // A stream's first event may be seconds away, and the client may want to see now that it was accepted. Other headers go in one packet with their body.
    if (isEventStream(answer)) response.flushHeaders();
    body.on("data", (chunk: Buffer) => {
      if (!response.write(chunk)) body.pause();
      options.seen(chunk);
    });
    response.on("drain", () => body.resume());
    body.once("end", () => {
      response.end(() => settle("complete"));
    });
    body.once("error", () => {
      settle(response.destroyed ? "client_left" : "upstream_broke");
      response.destroy();
    });
    response.once("close", () => {
      if (response.writableFinished) return;
      settle("client_left");
      body.destroy();
    });
  });
}
