import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { createRolloutSessions, type RolloutSession } from "../../src/serving/rollout-session.ts";
import { completion, sendJson, startUpstream, type Answerer } from "./fake-upstream.ts";
import { startGateway } from "./gateway-fixture.ts";

const SESSION: RolloutSession = {
  id: "rollout-1",
  publicModel: "shop-model",
  model: "shop-2-bbbbbbbbbbbb",
  adapterDigest: "sha256:bbbb",
  seed: 41,
  sampling: { temperature: 1, topP: 1, topK: 0, minP: 0 },
};

/** A policy server that returns ids and logprobs the way vLLM does, only when asked to. */
const sampling: Answerer = (request, response) => {
  const { body } = request;
  const base = completion(String(body["model"]));
  const asksIds = body["return_token_ids"] === true;
  const content = [
    { token: "he", logprob: -0.5 },
    { token: "llo", logprob: -0.25 },
  ];
  const call = { id: "c1", type: "function", function: { name: "lookup_order", arguments: "{}" } };
  sendJson(response, {
    ...base,
    ...(asksIds ? { prompt_token_ids: [1, 2, 3] } : {}),
    choices: [
      {
        index: 0,
        message: { role: "assistant", content: "hello", tool_calls: [call] },
        finish_reason: "tool_calls",
        logprobs: body["logprobs"] === true ? { content } : null,
        ...(asksIds ? { token_ids: [7, 8] } : {}),
      },
    ],
  });
};

function chat(url: string, id: string, body: Record<string, unknown> = {}) {
  return fetch(`${url}/rollout/${id}/v1/chat/completions`, {
    method: "POST",
    body: JSON.stringify({ model: "whatever", temperature: 0.1, seed: 9, n: 4, top_p: 0.5, messages: [], max_tokens: 20, ...body }),
  });
}

describe("a rollout session", () => {
  test("forces model, seed and sampling, records ids and logprobs, and leaves no span", async () => {
    const upstream = await startUpstream(sampling);
    await using gateway = await startGateway({ upstreams: [upstream] });
    gateway.rollouts.open(SESSION);
    const answer = (await (await chat(gateway.url, "rollout-1")).json()) as Record<string, unknown>;
    expect(upstream.seen[0]?.body).toEqual({
      model: SESSION.model,
      messages: [],
      max_tokens: 20,
      seed: 41,
      temperature: 1,
      top_p: 1,
      top_k: 0,
      min_p: 0,
      n: 1,
      logprobs: true,
      return_token_ids: true,
      stream: false,
    });
    expect(JSON.stringify(answer)).not.toMatch(/token_ids|logprob"/);
    expect(answer).toMatchObject({ choices: [{ logprobs: null, message: { content: "hello" }, finish_reason: "tool_calls" }] });
    expect(gateway.rollouts.close("rollout-1")).toEqual([
      {
        promptTokenIds: [1, 2, 3],
        completionTokenIds: [7, 8],
        logprobs: [-0.5, -0.25],
        finishReason: "tool_calls",
        adapterDigest: "sha256:bbbb",
        sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, seed: 41 },
      },
    ]);
    expect((await chat(gateway.url, "rollout-1")).status).toBe(404);
    expect(gateway.rollouts.close("rollout-1")).toBeNull();
    expect(await gateway.spans()).toEqual([]);
    await upstream.close();
  });

  test("leaves ids and logprobs in the answer of an agent that asked for them", async () => {
    const upstream = await startUpstream(sampling);
    await using gateway = await startGateway({ upstreams: [upstream] });
    gateway.rollouts.open(SESSION);
    const answer = await (await chat(gateway.url, "rollout-1", { logprobs: true, return_token_ids: true })).json();
    expect(answer).toMatchObject({
      prompt_token_ids: [1, 2, 3],
      choices: [{ token_ids: [7, 8], logprobs: { content: [{ logprob: -0.5 }, { logprob: -0.25 }] } }],
    });
    await upstream.close();
  });

  test("serves an agent that streams through the openai package", async () => {
    const upstream = await startUpstream(sampling);
    await using gateway = await startGateway({ upstreams: [upstream] });
    gateway.rollouts.open(SESSION);
    const client = new OpenAI({ baseURL: `${gateway.url}/rollout/rollout-1/v1`, apiKey: "unused" });
    const stream = client.chat.completions.stream({
      model: "m",
      messages: [{ role: "user", content: "hi" }],
      stream_options: { include_usage: true },
    });
    const whole = await stream.finalChatCompletion();
    expect(whole.choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: { content: "hello", tool_calls: [{ id: "c1", function: { name: "lookup_order", arguments: "{}" } }] },
    });
    expect(whole.usage).toMatchObject({ prompt_tokens: 7, completion_tokens: 2 });
    expect(gateway.rollouts.close("rollout-1")?.length).toBe(1);
    await upstream.close();
  });

  test.each([
    { what: "no ids", answer: completion("m") as unknown },
    {
      what: "fewer logprobs than ids",
      answer: {
        ...completion("m"),
        prompt_token_ids: [1],
        choices: [{ finish_reason: "stop", token_ids: [1, 2], logprobs: { content: [{ logprob: -1 }] } }],
      },
    },
    { what: "no JSON", answer: "text" },
  ])("refuses an answer with $what rather than record half of it", async ({ answer }) => {
    const upstream = await startUpstream((_request, response) => sendJson(response, answer));
    await using gateway = await startGateway({ upstreams: [upstream] });
    gateway.rollouts.open(SESSION);
    expect((await chat(gateway.url, "rollout-1")).status).toBe(502);
    expect(gateway.rollouts.close("rollout-1")).toEqual([]);
    await upstream.close();
  });

  test("passes an error of the policy server on and records nothing", async () => {
    const upstream = await startUpstream((_request, response) => sendJson(response, { error: { message: "too long" } }, 400));
    await using gateway = await startGateway({ upstreams: [upstream] });
    gateway.rollouts.open(SESSION);
    expect((await chat(gateway.url, "rollout-1")).status).toBe(400);
    expect(gateway.rollouts.close("rollout-1")).toEqual([]);
    await upstream.close();
  });

  test("never falls back to another model: that would be another policy's sample", async () => {
    const upstream = await startUpstream((_request, response) => sendJson(response, { error: { message: "gone" } }, 404));
    await using gateway = await startGateway({ upstreams: [upstream] });
    gateway.rollouts.open(SESSION);
    expect((await chat(gateway.url, "rollout-1")).status).toBe(404);
    expect(upstream.seen.map(({ body }) => body["model"])).toEqual([SESSION.model]);
    await upstream.close();
  });

  test("cannot be opened twice", () => {
    const sessions = createRolloutSessions();
    sessions.open(SESSION);
    expect(() => sessions.open(SESSION)).toThrow("rollout-1");
  });
});
