import { createServer } from "node:http";
import { Pool } from "undici";

/**
 * The least that a proxy in Node can do: a server and a client that pass bodies on, nothing looked at. What it takes on a machine no gateway of Node goes below there.
 * `node bare.ts PORT UPSTREAM`
 */
const [port, upstream = ""] = process.argv.slice(2);
const pool = new Pool(upstream);
/** The probe finds a call by its header. */
const FORWARDED = ["content-type", "x-bench-call"];

createServer({ keepAliveTimeout: 75_000 }, (request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const headers = Object.fromEntries(
      FORWARDED.flatMap((name) => (request.headers[name] === undefined ? [] : [[name, request.headers[name]]])),
    );
    pool
      .request({
        method: request.method === "GET" ? "GET" : "POST",
        path: request.url ?? "/",
        headers,
        body: chunks.length === 0 ? null : Buffer.concat(chunks),
      })
      .then(
        ({ statusCode, headers: { connection: _connection, "keep-alive": _keepAlive, "transfer-encoding": _encoding, ...kept }, body }) => {
          response.writeHead(statusCode, kept);
          body.pipe(response);
        },
      )
      .catch(() => response.destroy());
  });
}).listen(Number(port), "127.0.0.1", () => process.stdout.write("listening\n"));
