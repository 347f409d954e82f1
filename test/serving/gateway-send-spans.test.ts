import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { createSendSpans } from "../../src/serving/gateway/capture/send-spans.ts";

const SPANS = new Uint8Array([1, 2, 3]);

/** Sends once to a collector that answers its requests with `answers`, in order; returns the outcome and the bodies that came. */
async function sendTo(...answers: ((response: ServerResponse) => void)[]) {
  const bodies: Buffer[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      answers[bodies.length]?.(response);
      bodies.push(Buffer.concat(chunks));
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const problem = await createSendSpans({ collectorUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })(SPANS);
  server.close();
  server.closeAllConnections();
  return { problem, bodies };
}
const status =
  (code: number, headers = {}) =>
  (response: ServerResponse) =>
    response.writeHead(code, headers).end();
const cut = (response: ServerResponse) => response.destroy();

test.each([
  { what: "that takes them", answers: [status(200)], problem: null, tries: 1 },
  { what: "that refuses them is not asked again", answers: [status(400), status(200)], problem: "HTTP 400", tries: 1 },
  { what: "that says when is asked then", answers: [status(503, { "retry-after": "0" }), status(200)], problem: null, tries: 2 },
  { what: "that says too late is given up", answers: [status(429, { "retry-after": "60" }), status(200)], problem: "HTTP 429", tries: 1 },
  { what: "that says nothing is asked again", answers: [cut, status(200)], problem: null, tries: 2 },
  {
    what: "that sends them elsewhere is not followed",
    answers: [status(307, { location: "/" }), status(200)],
    problem: "HTTP 307",
    tries: 1,
  },
])("spans for a collector $what", async ({ answers, problem, tries }) => {
  const sent = await sendTo(...answers);
  expect(sent).toEqual({ problem, bodies: Array.from({ length: tries }, () => Buffer.from(SPANS)) });
});
