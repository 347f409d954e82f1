import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { startUpstream, type Answerer } from "./fake-upstream.ts";
import { startGateway } from "./gateway-fixture.ts";

/** A stream of a chat with a tool call, as vLLM sends it, with text outside ASCII. */
function chatEvents(pieces: readonly string[]): string {
  const head = { id: "chatcmpl-9", object: "chat.completion.chunk", model: "base" };
  const chunk = (delta: unknown, finish: string | null = null) => ({ ...head, choices: [{ index: 0, delta, finish_reason: finish }] });
  const call = (changes: object) => chunk({ tool_calls: [{ index: 0, ...changes }] });
  const events = [
    chunk({ role: "assistant", content: "" }),
    ...pieces.map((content) => chunk({ content })),
    call({ id: "call-1", type: "function", function: { name: "lookup_order", arguments: "" } }),
    call({ function: { arguments: '{"order' } }),
    call({ function: { arguments: '_id":"A1234"}' } }),
    chunk({}, "tool_calls"),
    { ...head, choices: [], usage: { prompt_tokens: 11, completion_tokens: 5 } },
  ];
  return `${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("")}data: [DONE]\n\n`;
}

/** Sends `bytes` cut at `cuts`, each piece in a packet of its own as far as TCP lets one say so. */
function sendCut(bytes: Buffer, cuts: readonly number[]): Answerer {
  return async (_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.socket?.setNoDelay(true);
    let from = 0;
    for (const cut of [...new Set(cuts), bytes.length].toSorted((a, b) => a - b)) {
      response.write(bytes.subarray(from, cut));
      from = cut;
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
    }
    response.end();
  };
}

const cutsWithin = (bytes: Buffer, at: readonly number[]) => at.map((cut) => cut % bytes.length);

function post(url: string, body: unknown): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const call = request(`${url}/v1/chat/completions`, { method: "POST" }, resolve);
    call.on("error", reject);
    call.end(JSON.stringify(body));
  });
}

const ASKED = { model: "shop-model", stream: true, messages: [{ role: "user", content: "hi" }] };

describe("a stream", () => {
  const text = fc.array(fc.string({ unit: "grapheme", maxLength: 12 }), { maxLength: 8 });
  const cuts = fc.array(fc.nat({ max: 2_000 }), { maxLength: 20 });

  test.prop([text, cuts], { numRuns: 30 })(
    "arrives byte for byte and is captured whole, wherever its bytes are split",
    async (pieces, at) => {
      const bytes = Buffer.from(chatEvents(pieces));
      const upstream = await startUpstream(sendCut(bytes, cutsWithin(bytes, at)));
      await using gateway = await startGateway({ upstreams: [upstream] });
      const answer = await fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(ASKED) });
      expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
      const [span] = await gateway.spans();
      const content = pieces.join("");
      expect(JSON.parse(span?.attributes["gen_ai.output.messages"] as string)).toEqual([
        {
          role: "assistant",
          parts: [
            ...(content === "" ? [] : [{ type: "text", content }]),
            { type: "tool_call", id: "call-1", name: "lookup_order", arguments: { order_id: "A1234" } },
          ],
        },
      ]);
      expect(span?.attributes).toMatchObject({
        "gen_ai.response.id": "chatcmpl-9",
        "gen_ai.response.finish_reasons": ["tool_calls"],
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.request.stream": true,
      });
      await upstream.close();
    },
  );

  test("that is no event stream at all arrives byte for byte too", async () => {
    let answer: Answerer = () => undefined;
    const upstream = await startUpstream((request, response) => answer(request, response));
    await using gateway = await startGateway({ upstreams: [upstream] });
    const property = fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 5_000 }), cuts, async (noise, at) => {
      const bytes = Buffer.from(noise);
      answer = sendCut(bytes, cutsWithin(bytes, at));
      const received = await fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(ASKED) });
      expect(Buffer.from(await received.arrayBuffer()).equals(bytes)).toBe(true);
    });
    await fc.assert(property, { numRuns: 100 });
    await upstream.close();
  });

  test("reaches the client event by event, not at its end", async () => {
    const { promise: firstSeen, resolve: onFirstSeen } = Promise.withResolvers<void>();
    const upstream = await startUpstream(async (_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: 1\n\n");
      await firstSeen;
      response.end("data: 2\n\n");
    });
    await using gateway = await startGateway({ upstreams: [upstream] });
    const answer = await post(gateway.url, ASKED);
    const [first] = (await once(answer, "data")) as [Buffer];
    expect(first.toString()).toBe("data: 1\n\n");
    onFirstSeen();
    const [second] = (await once(answer, "data")) as [Buffer];
    expect(second.toString()).toBe("data: 2\n\n");
    await upstream.close();
  });

  test("is no faster than its client reads", async () => {
    const total = 32 * 1024 * 1024;
    const chunk = Buffer.alloc(64 * 1024, "x");
    let sent = 0;
    const { promise: stalled, resolve: onStalled } = Promise.withResolvers<void>();
    const upstream = await startUpstream((_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const pump = () => {
        while (sent < total) {
          sent += chunk.length;
          if (!response.write(chunk)) {
            // Where nobody reads, no drain comes within half a second any more.
            const timer = setTimeout(onStalled, 500);
            response.once("drain", () => {
              clearTimeout(timer);
              pump();
            });
            return;
          }
        }
        response.end();
      };
      pump();
    });
    await using gateway = await startGateway({ upstreams: [upstream] });
    const answer = await post(gateway.url, ASKED);
    answer.pause();
    await stalled;
    expect(sent).toBeLessThan(total / 2);
    let received = 0;
    for await (const piece of answer) received += (piece as Buffer).length;
    expect(received).toBe(total);
    await upstream.close();
  });

  test("that breaks off upstream breaks off at the client, so that it never looks whole", async () => {
    const upstream = await startUpstream((_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(chatEvents(["half"]).slice(0, 150), () => response.destroy());
    });
    await using gateway = await startGateway({ upstreams: [upstream] });
    const answer = await post(gateway.url, ASKED);
    answer.resume();
    const [error] = (await once(answer, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toBe("ECONNRESET");
    expect((await gateway.spans())[0]?.attributes["error.type"]).toBe("upstream_broke");
    await upstream.close();
  });

  test.each(["before the first byte", "in the middle"])("that its client leaves %s is aborted upstream", async (when) => {
    const { promise: aborted, resolve: onAborted } = Promise.withResolvers<void>();
    const { promise: asked, resolve: onAsked } = Promise.withResolvers<void>();
    const upstream = await startUpstream((_request, response) => {
      response.once("close", onAborted);
      if (when === "in the middle") response.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n");
      onAsked();
    });
    await using gateway = await startGateway({ upstreams: [upstream] });
    const controller = new AbortController();
    const call = fetch(`${gateway.url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(ASKED), signal: controller.signal });
    await asked;
    if (when === "in the middle") await (await call).body?.getReader().read();
    controller.abort();
    await call.catch(() => undefined);
    await aborted;
    expect((await gateway.spans())[0]?.attributes["error.type"]).toBe("client_left");
    await upstream.close();
  });
});
