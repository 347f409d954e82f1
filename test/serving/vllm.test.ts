import { createServer, type RequestListener } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { createVllm } from "../../src/serving/vllm.ts";

const chat = {
  model: "m",
  messages: [{ role: "user" as const, content: "my secret words" }],
  tools: [],
  sampling: { temperature: 1, topP: 1, maxTokens: 5, seed: 1 },
};
const whole = {
  prompt_token_ids: [1, 2],
  choices: [
    {
      message: { role: "assistant", content: "ok" },
      finish_reason: "stop",
      token_ids: [3, 4],
      logprobs: { content: [{ logprob: -0.5 }, { logprob: -0.1 }] },
    },
  ],
};
const refusal = (message: string, type = "BadRequestError"): string => JSON.stringify({ error: { message, type, param: null, code: 400 } });

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

/** A driver on a server that answers as told. */
async function driver(answer: RequestListener, timeoutMs = 5_000) {
  const http = createServer(answer).listen(0, "127.0.0.1");
  await once(http, "listening");
  const policy = createVllm({
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    apiKey: "sk-test",
    timeoutMs,
    connections: 2,
  });
  open.push(async () => {
    http.closeAllConnections();
    http.close();
    await policy.close();
  });
  return policy;
}

const answering =
  (status: number, body: string, headers: Record<string, string> = {}): RequestListener =>
  (_, response) =>
    response.writeHead(status, headers).end(body);

describe("a chat's answers", () => {
  test.each<[string, RequestListener, object]>([
    [
      "200",
      answering(200, JSON.stringify(whole)),
      { status: "completed", completionTokenIds: [3, 4], logprobs: [-0.5, -0.1], finishReason: "stop" },
    ],
    ["400", answering(400, refusal("too long")), { status: "rejected", error: { code: "policy_server_refused" } }],
    ["404", answering(404, refusal("no such model")), { status: "rejected", error: { code: "policy_server_refused" } }],
    ["429 with Retry-After", answering(429, "", { "retry-after": "3" }), { status: "retryable", retryAfterMs: 3_000 }],
    ["500", answering(500, "oops"), { status: "retryable", error: { code: "policy_server_unavailable" } }],
    [
      "503 with a date",
      answering(503, "", { "retry-after": "Fri, 31 Dec 1999 23:59:59 GMT" }),
      { status: "retryable", retryAfterMs: 1_000 },
    ],
    ["200 that is not JSON", answering(200, "<html>"), { status: "rejected", error: { code: "policy_server_answer_invalid" } }],
    [
      "200 without token ids",
      answering(200, JSON.stringify({ ...whole, prompt_token_ids: null })),
      { error: { code: "policy_server_answer_invalid" } },
    ],
    [
      "200 with fewer logprobs than ids",
      answering(200, JSON.stringify({ ...whole, choices: [{ ...whole.choices[0], logprobs: { content: [{ logprob: -1 }] } }] })),
      { status: "rejected", error: { code: "policy_server_answer_invalid" } },
    ],
    [
      "a connection that breaks off",
      (request) => request.socket.destroy(),
      { status: "retryable", error: { code: "policy_server_unavailable" } },
    ],
  ])("%s", async (_, listener, expected) => {
    expect(await (await driver(listener)).chat(chat)).toMatchObject(expected);
  });

  test("no answer in time is retryable", async () => {
    const result = await (await driver(() => {}, 50)).chat(chat);
    expect(result).toMatchObject({ status: "retryable", error: { message: expect.stringContaining("within 50 ms") as string } });
  });

  test("a server that is not there is retryable, and serves no models", async () => {
    const policy = createVllm({ url: "http://127.0.0.1:1", timeoutMs: 1_000, connections: 1 });
    expect(await policy.chat(chat)).toMatchObject({ status: "retryable" });
    expect(await policy.models()).toBeNull();
    await policy.close();
  });

  test("an aborted signal rejects, and nothing else does", async () => {
    const policy = await driver(() => {});
    const controller = new AbortController();
    const pending = policy.chat(chat, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(pending).rejects.toThrow("enough");
  });

  /** A server that keeps what it is asked and refuses, or not, by the request's body. */
  function recording(refuses: (body: { priority?: number }) => string | null = () => null) {
    const sent: { body: { priority?: number }; authorization: string | undefined }[] = [];
    const listener: RequestListener = (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const body = JSON.parse(Buffer.concat(chunks).toString()) as { priority?: number };
        sent.push({ body, authorization: request.headers.authorization });
        const reason = refuses(body);
        response.writeHead(reason === null ? 200 : 400).end(reason === null ? JSON.stringify(whole) : refusal(reason));
      });
    };
    return { sent, listener, priorities: () => sent.map(({ body }) => body.priority) };
  }
  const wire = {
    ...{ model: "m", messages: chat.messages, temperature: 1, top_p: 1, max_tokens: 5, seed: 1 },
    ...{ logprobs: true, top_logprobs: 0, return_token_ids: true },
  };

  test("what goes over the wire", async () => {
    const { sent, listener } = recording();
    const policy = await driver(listener);
    await policy.chat(chat);
    await policy.chat({ ...chat, priority: 0 });
    await policy.chat({ ...chat, priority: 3 });
    const authorization = "Bearer sk-test";
    expect(sent).toEqual([
      { authorization, body: wire },
      { authorization, body: wire },
      { authorization, body: { ...wire, priority: 3 } },
    ]);
  });

  test("a server without priority scheduling that refuses a priority is asked again without, and told none from then on", async () => {
    const refuses = ({ priority }: { priority?: number }) =>
      priority === undefined ? null : `Got priority ${priority} but Priority scheduling is not enabled.`;
    const { listener, priorities } = recording(refuses);
    const policy = await driver(listener);
    expect(await policy.chat({ ...chat, priority: 1 })).toMatchObject({ status: "completed" });
    expect(await policy.chat({ ...chat, priority: 1 })).toMatchObject({ status: "completed" });
    expect(priorities()).toEqual([1, undefined, undefined]);
  });

  test("a prompt is scored behind production, too, where the server has such a place", async () => {
    const refuses = ({ priority }: { priority?: number }) => (priority === 5 ? "Priority scheduling is not enabled." : null);
    const { sent, listener, priorities } = recording(refuses);
    const policy = await driver(listener);
    const score = (priority?: number) =>
      policy.promptLogprobs({ model: "m", promptTokenIds: [1, 2], cacheSalt: "s", ...(priority === undefined ? {} : { priority }) });
    await score();
    await score(3);
    const body = { model: "m", prompt: [1, 2], max_tokens: 1, prompt_logprobs: 0, cache_salt: "s", temperature: 0 };
    expect(sent.map((one) => one.body)).toEqual([body, { ...body, priority: 3 }]);
    await score(5);
    await policy.chat({ ...chat, priority: 3 });
    expect(priorities()).toEqual([undefined, 3, 5, undefined, undefined]);
  });

  test("another refusal of a call with a priority is the answer", async () => {
    const { listener, priorities } = recording(() => "too long");
    const policy = await driver(listener);
    for (let n = 0; n < 2; n += 1) expect(await policy.chat({ ...chat, priority: 1 })).toMatchObject({ status: "rejected" });
    expect(priorities()).toEqual([1, 1]);
  });

  test("a refusal that repeats the request does not carry its words on", async () => {
    const policy = await driver(answering(400, refusal("1 validation error: {'type': 'x', 'input': 'my secret words'}")));
    const result = await policy.chat(chat);
    expect(result).toMatchObject({ status: "rejected", error: { message: expect.not.stringContaining("secret") as string } });
  });
});

describe("an adapter's load", () => {
  test.each<[string, RequestListener, object]>([
    ["loaded", answering(200, "Success: LoRA adapter 'x' added successfully."), { status: "loaded" }],
    ["already loaded", answering(400, refusal("The lora adapter 'x' has already been loaded.")), { status: "already_loaded" }],
    ["vLLM's 500 with a reason", answering(500, refusal("rank 96 is greater", "InternalServerError")), { status: "rejected" }],
    ["a proxy's 502", answering(502, "bad gateway"), { status: "retryable" }],
  ])("%s", async (_, listener, expected) => {
    expect(await (await driver(listener)).loadAdapter({ name: "x", path: "/a" })).toMatchObject(expected);
  });
});

test("prompt logprobs: the first is null, each later one is found under its own id", async () => {
  const entries = [null, { "7": { logprob: -1 }, "9": { logprob: -0.2 } }, { "8": { logprob: -2 } }];
  const policy = await driver(answering(200, JSON.stringify({ choices: [{ prompt_logprobs: entries }] })));
  const ask = async (ids: number[]) => await policy.promptLogprobs({ model: "m", promptTokenIds: ids, cacheSalt: "s" });
  expect(await ask([5, 7, 8])).toEqual({ status: "completed", logprobs: [null, -1, -2] });
  expect(await ask([5, 9, 1])).toMatchObject({ status: "rejected", error: { code: "policy_server_answer_invalid" } });
});
