import { once } from "node:events";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What a store may do to a client that trusts it. */
export type Fault =
  /** Other bytes of the same length. */
  | "flip"
  /** Half of the bytes, and a length that agrees. */
  | "truncate"
  /** Half of the bytes, then the connection is gone. */
  | "cut"
  /** Half of the bytes, then silence. */
  | "stall"
  /** Bytes without an end. */
  | "endless"
  /** HTTP 500 with S3's error document. */
  | "error500"
  /** HTTP 503 SlowDown. */
  | "slow_down"
  /** A load balancer's page. */
  | "not_s3"
  /** No answer at all. */
  | "hang"
  /** Does what it was asked, and the connection is gone before it says so. */
  | "lose_answer"
  /** 200 to every write, which it throws away. */
  | "forget_writes"
  /** Takes a body at a few KB a second. */
  | "slow_upload";

export interface LyingStore {
  readonly url: string;
  /** Decides about every request from now on; null lets it through. */
  lie(about: (call: { method: string; path: string }) => Fault | null): void;
  /** What reached it, as `METHOD path`, newest last. */
  readonly calls: readonly string[];
  close(): Promise<void>;
}

/** A proxy before a real S3 server. Requests stay as they were signed. */
export async function startLyingStore(upstream: string): Promise<LyingStore> {
  let faultOf: (call: { method: string; path: string }) => Fault | null = () => null;
  const calls: string[] = [];
  const server = createServer((incoming, outgoing) => {
    const call = { method: incoming.method ?? "", path: (incoming.url ?? "").split("?")[0] ?? "" };
    calls.push(`${call.method} ${call.path}`);
    outgoing.on("error", () => {});
    handle(upstream, faultOf(call), incoming, outgoing).catch(() => outgoing.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lie(about) {
      faultOf = about;
    },
    calls,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

const DOCUMENT = (code: string) =>
  `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>by the test</Message></Error>`;

async function handle(upstream: string, fault: Fault | null, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  if (fault === "hang") return;
  if (fault === "error500" || fault === "slow_down" || fault === "not_s3" || fault === "forget_writes") {
    incoming.resume();
    await once(incoming, "end");
    if (fault === "forget_writes") return void outgoing.writeHead(200, { etag: '"0"' }).end();
    if (fault === "not_s3") return void outgoing.writeHead(200, { "content-type": "text/html" }).end("<html><p>welcome</html>");
    outgoing.writeHead(fault === "error500" ? 500 : 503, { "content-type": "application/xml" });
    outgoing.end(DOCUMENT(fault === "error500" ? "InternalError" : "SlowDown"));
    return;
  }
  const onward = request(upstream + (incoming.url ?? ""), { method: incoming.method ?? "GET", headers: incoming.headers });
  onward.on("error", () => outgoing.destroy());
  incoming.on("close", () => {
    if (!incoming.complete) onward.destroy();
  });
  send(incoming, onward, fault).catch(() => onward.destroy());
  const [answer] = (await once(onward, "response")) as [IncomingMessage];
  await respond(answer, outgoing, fault);
}

async function send(incoming: IncomingMessage, onward: ReturnType<typeof request>, fault: Fault | null): Promise<void> {
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    onward.write(chunk);
    if (fault === "slow_upload") await sleep(200);
  }
  onward.end();
}

async function respond(answer: IncomingMessage, outgoing: ServerResponse, fault: Fault | null): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const half = body.subarray(0, Math.floor(body.length / 2));
  if (fault === "lose_answer") return void outgoing.destroy();
  const headers = { ...answer.headers };
  if (fault === "truncate") headers["content-length"] = `${half.length}`;
  if (fault === "endless") delete headers["content-length"];
  outgoing.writeHead(answer.statusCode ?? 500, headers);
  if (fault === "endless") {
    while (!outgoing.destroyed) {
      outgoing.write(Buffer.alloc(64 * 1024, 1));
      await sleep(1);
    }
    return;
  }
  if (fault === "flip" && body.length > 0) body[Math.floor(body.length / 2)] = (body[Math.floor(body.length / 2)] ?? 0) ^ 1;
  if (fault === "truncate") return void outgoing.end(half);
  if (fault === "stall" || fault === "cut") {
    outgoing.write(half);
    if (fault === "cut") setImmediate(() => outgoing.destroy());
    return;
  }
  outgoing.end(body);
}
