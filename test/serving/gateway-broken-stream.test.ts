import { once } from "node:events";
import { request, type ClientRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { setImmediate as nextTurn } from "node:timers/promises";
import { fc, test } from "@fast-check/vitest";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { startUpstream, type Answerer } from "./fake-upstream.ts";
import { startGateway } from "./gateway-fixture.ts";

/** The gateway's clock: a minute later a server that broke off is asked again. */
let nowMs = 0;
let answer: Answerer = () => undefined;
let upstream: Awaited<ReturnType<typeof startUpstream>>;
let gateway: Awaited<ReturnType<typeof startGateway>>;
beforeAll(async () => {
  upstream = await startUpstream((request, response) => answer(request, response));
  gateway = await startGateway({ upstreams: [upstream], monotonicMs: () => nowMs });
});
afterAll(async () => {
  await gateway.close();
  await upstream.close();
});

/** Any bytes, cut anywhere into the packets that a server might send. */
const packets = fc.array(fc.uint8Array({ minLength: 1, maxLength: 3_000 }), { minLength: 1, maxLength: 12 });
const framing = fc.constantFrom("chunked", "by length");
const contentType = fc.constantFrom("text/event-stream", "application/json");

/** Writes the packets one by one, each handed to the kernel before the next; with `pauses` the reader has time between them and before what follows. */
async function send(response: ServerResponse, all: readonly Uint8Array[], pauses: boolean): Promise<void> {
  for (const packet of all) {
    if (response.destroyed) return;
    await new Promise<void>((resolve) => {
      response.write(packet, () => resolve());
    });
    if (pauses) await nextTurn();
  }
}

function post(): Promise<{ call: ClientRequest; received: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const call = request(`${gateway.url}/v1/chat/completions`, { method: "POST" }, (received) => resolve({ call, received }));
    nowMs += 60_000;
    call.once("error", reject);
    call.end(JSON.stringify({ model: "shop-model", stream: true, messages: [] }));
  });
}

describe("a stream that breaks", () => {
  test.prop([packets, fc.nat({ max: 12 }), framing, contentType, fc.boolean()], { numRuns: 60 })(
    "upstream after any packet gives its client every byte that came, in order, and then no clean end",
    async (all, at, framing, type, pauses) => {
      const sent = all.slice(0, 1 + (at % all.length));
      // One byte that never comes, so that the answer is short even where every packet was sent.
      const length = Buffer.concat(all).length + 1;
      answer = async (_request, response) => {
        response.writeHead(200, { "content-type": type, ...(framing === "by length" ? { "content-length": length } : {}) });
        await send(response, sent, pauses);
        response.destroy();
      };
      const { received } = await post();
      const pieces: Buffer[] = [];
      received.on("data", (piece: Buffer) => pieces.push(piece));
      const [error] = (await once(received, "error")) as [NodeJS.ErrnoException];
      expect(error.code).toBe("ECONNRESET");
      expect(Buffer.concat(pieces).equals(Buffer.concat(sent))).toBe(true);
    },
  );

  test.prop([packets, fc.nat({ max: 12 }), framing, contentType, fc.boolean()], { numRuns: 60 })(
    "at its client after any packet ends upstream too, and the next call is whole",
    async (all, at, framing, type, pauses) => {
      const bytes = Buffer.concat(all);
      const { promise: left, resolve: onLeft } = Promise.withResolvers<void>();
      let isFirst = true;
      answer = async (_request, response) => {
        const isBroken = isFirst;
        isFirst = false;
        const length = bytes.length + (isBroken ? 1 : 0);
        response.writeHead(200, { "content-type": type, ...(framing === "by length" ? { "content-length": length } : {}) });
        response.once("close", () => isBroken && onLeft());
        await send(response, all, pauses);
        if (!isBroken) response.end();
      };
      const wanted = Buffer.concat(all.slice(0, 1 + (at % all.length))).length;
      const { call, received } = await post();
      let got = Buffer.alloc(0);
      received.on("error", () => undefined);
      await new Promise<void>((resolve) => {
        received.on("data", (piece: Buffer) => {
          got = Buffer.concat([got, piece]);
          if (got.length >= wanted) resolve();
        });
      });
      call.destroy();
      expect(got.equals(bytes.subarray(0, got.length))).toBe(true);
      await left;
      const { received: next } = await post();
      const pieces: Buffer[] = [];
      for await (const piece of next) pieces.push(piece as Buffer);
      expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
    },
  );
});
