import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Pool } from "undici";

/**
 * The least that a proxy in Node can do: a server and a client that pass bodies on, nothing looked at. What it takes on a machine no gateway of Node goes below there.
 * `node bare.ts PORT UPSTREAM`
 */
const [port, upstream = ""] = process.argv.slice(2);
const pool = new Pool(upstream);
/** The probe finds a call by its header. */
const FORWARDED = ["content-type", "x-bench-call"];
const HOP_BY_HOP = new Set(["connection", "keep-alive", "transfer-encoding"]);

createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    pass(request, Buffer.concat(chunks), response).catch(() => response.destroy());
  });
}).listen(Number(port), "127.0.0.1", () => process.stdout.write("listening\n"));

async function pass(request: IncomingMessage, body: Buffer, response: ServerResponse): Promise<void> {
  const answer = await pool.request({
    method: request.method === "GET" ? "GET" : "POST",
    path: request.url ?? "/",
    headers: Object.fromEntries(FORWARDED.flatMap((name) => (request.headers[name] === undefined ? [] : [[name, request.headers[name]]]))),
    body: body.length === 0 ? null : body,
  });
  response.writeHead(answer.statusCode, Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !HOP_BY_HOP.has(name))));
  answer.body.pipe(response);
}
