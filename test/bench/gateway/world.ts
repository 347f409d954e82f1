import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Routes } from "../../../src/serving/routes.ts";
import { answerBody, answerEvents } from "./conversation.ts";

/**
 * Everything around the gateways, as one process of its own: a policy server that answers at once with fixed bytes, the collector that takes the gateway's spans,
 * the control service that says which routes are in force. `node world.ts PORT`
 */

/** Pause between the events of a stream: a model at 100 tokens/s. */
const EVENT_EVERY_MS = 10;
const ROUTES: Routes = {
  agent: "shop",
  model: "shop-model",
  version: 1,
  generation: 1,
  stable: { name: "shop-1-aaaaaaaaaaaa", digest: "sha256:aaaa" },
  candidate: { name: "shop-2-bbbbbbbbbbbb", digest: "sha256:bbbb", weight: 0.5 },
  experimentId: "bench",
  salt: "bench",
};
/** Every call's span has this attribute, once. */
const SPAN_MARK = "gen_ai.output.messages";

const ANSWER = answerBody();
const EVENTS = answerEvents();
const seen = { calls: 0, exports: 0, exportedBytes: 0, exportedCalls: 0 };

const server = createServer({ keepAliveTimeout: 120_000 }, (request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => answer(request, Buffer.concat(chunks), response));
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => process.stdout.write("listening\n"));

function answer(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
  const url = new URL(request.url ?? "", "http://world");
  switch (url.pathname) {
    case "/v1/traces":
      seen.exports++;
      seen.exportedBytes += body.length;
      seen.exportedCalls += occurrences(body, SPAN_MARK);
      response.writeHead(200, { "content-type": "application/x-protobuf", "content-length": 0 }).end();
      return;
    case "/v1/routes":
      if (url.searchParams.get("version") === String(ROUTES.version)) {
        setTimeout(() => response.writeHead(204).end(), Number(url.searchParams.get("waitMs")));
        return;
      }
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(ROUTES));
      return;
    case "/seen":
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(seen));
      return;
    default:
      seen.calls++;
      chat(body, response);
  }
}

function chat(body: Buffer, response: ServerResponse): void {
  if (!body.includes('"stream":true') && !body.includes('"stream": true')) {
    response.writeHead(200, { "content-type": "application/json", "content-length": ANSWER.length }).end(ANSWER);
    return;
  }
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
  let next = 0;
  const send = () => {
    if (next < EVENTS.length) response.write(EVENTS[next++]);
    if (next < EVENTS.length) return;
    clearInterval(timer);
    response.end();
  };
  const timer = setInterval(send, EVENT_EVERY_MS);
  response.on("close", () => clearInterval(timer));
  send();
}

function occurrences(bytes: Buffer, word: string): number {
  let count = 0;
  for (let at = bytes.indexOf(word); at !== -1; at = bytes.indexOf(word, at + word.length)) count++;
  return count;
}
