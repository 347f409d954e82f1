import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createClient, errorSchema, TOOLS, USER, type ChatAnswer, type Client, type PolicyServerUnderTest } from "./policy-server-http.ts";

/** Where servers differ in what they promise; Nightshift must do without what is false here. */
export interface PolicyServerTraits {
  /** A seed gives the same tokens in any company; a vLLM without batch invariance does not promise it. */
  deterministic: boolean;
  /** A role that no template knows is refused; vLLM renders it. */
  checksRoles: boolean;
}

/** The contract of serving.md: what Nightshift needs from a policy server's HTTP. */
export function policyServerContract(name: string, start: () => Promise<PolicyServerUnderTest>, traits: PolicyServerTraits): void {
  describe(`policy server contract: ${name}`, () => {
    let server: PolicyServerUnderTest;
    let client: Client;
    const ask = (extra: object = {}): object => ({
      model: server.model,
      messages: [USER],
      max_tokens: 24,
      seed: 11,
      temperature: 1,
      ...extra,
    });

    beforeAll(async () => {
      server = await start();
      client = createClient(server.baseUrl);
    });
    afterAll(async () => {
      await server?.stop();
    });

    test("is healthy, counts, and lists the base", async () => {
      expect((await client.get("/health")).status).toBe(200);
      const metrics = await (await client.get("/metrics")).text();
      expect(metrics).toMatch(/^vllm:num_requests_running\{.*\} \d/m);
      const [base] = await client.models();
      expect(base).toMatchObject({ id: server.model, parent: null });
      expect(base?.max_model_len).toBeGreaterThan(100);
    });

    test("a chat answers with ids, logprobs and usage that agree", async () => {
      const answer = await client.chat(ask({ return_token_ids: true, logprobs: true, top_logprobs: 0 }));
      const ids = answer.choices[0].token_ids ?? [];
      expect(answer.model).toBe(server.model);
      expect(ids.length).toBeGreaterThan(0);
      expect(answer.choices[0].logprobs?.content).toHaveLength(ids.length);
      expect(answer.usage).toMatchObject({ prompt_tokens: answer.prompt_token_ids?.length, completion_tokens: ids.length });
      expect(answer.usage.total_tokens).toBe(answer.usage.prompt_tokens + answer.usage.completion_tokens);
      expect(answer.prompt_token_ids).toEqual(await client.tokenize({ model: server.model, messages: [USER] }));
    });

    test("without return_token_ids there are none, and the text is the same", async () => {
      const [plain, withIds] = [
        await client.chat(ask({ temperature: 0 })),
        await client.chat(ask({ temperature: 0, return_token_ids: true })),
      ];
      expect([plain.prompt_token_ids ?? null, plain.choices[0].token_ids ?? null, plain.choices[0].logprobs ?? null]).toEqual([
        null,
        null,
        null,
      ]);
      expect(plain.choices[0].message).toEqual(withIds.choices[0].message);
    });

    test("ids of a text round-trip through /tokenize", async () => {
      const answer = await client.chat(ask({ temperature: 0, return_token_ids: true }));
      const { message, finish_reason, token_ids } = answer.choices[0];
      expect(finish_reason).toBe("stop");
      // All sampled ids but the one that ended it are the text's.
      expect(await client.tokenize({ model: server.model, prompt: message.content, add_special_tokens: false })).toEqual(
        token_ids?.slice(0, -1),
      );
    });

    test.each([
      ["text", {}],
      ["text at a high temperature", { temperature: 2, max_tokens: 40 }],
      ["nucleus", { top_p: 0.8, temperature: 1.5 }],
      ["a tool call", { tools: TOOLS, temperature: 0, max_tokens: 60 }],
      ["stopped by its length", { temperature: 2, max_tokens: 3 }],
    ])("a stream adds up to the whole answer: %s", async (_, extra) => {
      const whole = await client.chat(ask({ ...extra, return_token_ids: true }));
      const streamed = await client.stream(ask({ ...extra, return_token_ids: true, stream_options: { include_usage: true } }));
      const { message, finish_reason, token_ids } = whole.choices[0];
      expect(streamed.done).toBe(true);
      expect(streamed.usage).toMatchObject(whole.usage);
      expect(streamed).toMatchObject({
        content: message.content ?? "",
        finishReason: finish_reason,
        promptTokenIds: whole.prompt_token_ids,
      });
      expect(streamed.tokenIds).toEqual(token_ids);
      expect(streamed.toolCalls).toEqual((message.tool_calls ?? []).map((call) => call.function));
    });

    test("max_tokens, max_completion_tokens and stop end an answer", async () => {
      const long = { temperature: 2, logprobs: true };
      for (const limit of [{ max_tokens: 5 }, { max_tokens: undefined, max_completion_tokens: 5 }]) {
        const { usage, choices } = await client.chat(ask({ ...long, ...limit, seed: 3 }));
        expect(usage.completion_tokens <= 5 && (usage.completion_tokens === 5 || choices[0].finish_reason === "stop")).toBe(true);
      }
      const text = (await client.chat(ask({ temperature: 0 }))).choices[0].message.content ?? "";
      const stop = text.slice(-1);
      const stopped = await client.chat(ask({ temperature: 0, stop: [stop] }));
      expect(stopped.choices[0]).toMatchObject({ finish_reason: "stop", message: { content: text.slice(0, text.indexOf(stop)) } });
    });

    test("sampled logprobs agree with prompt logprobs of the same tokens", async () => {
      const answer = await client.chat(ask({ return_token_ids: true, logprobs: true, max_tokens: 12, temperature: 1 }));
      const prompt = answer.prompt_token_ids ?? [];
      const ids = answer.choices[0].token_ids ?? [];
      const scored = await client.completion({
        model: server.model,
        prompt: [...prompt, ...ids],
        max_tokens: 1,
        prompt_logprobs: 0,
        cache_salt: crypto.randomUUID(),
      });
      const entries = scored.choices[0].prompt_logprobs ?? [];
      expect(entries[0]).toBeNull();
      expect(entries).toHaveLength(prompt.length + ids.length);
      const again = ids.map((id, index) => entries[prompt.length + index]?.[String(id)]?.logprob ?? Number.NaN);
      const sampled = answer.choices[0].logprobs?.content.map((token) => token.logprob) ?? [];
      for (const [index, logprob] of sampled.entries()) expect(again[index]).toBeCloseTo(logprob, 3);
    });

    test("tool calls come out as OpenAI's, and go back in", async () => {
      const first = await client.chat(ask({ tools: TOOLS, temperature: 0, max_tokens: 60 }));
      expect(first.choices[0].finish_reason).toBe("tool_calls");
      const [call] = first.choices[0].message.tool_calls ?? [];
      expect(call?.function.name).toBe("lookup_order");
      expect(JSON.parse(call?.function.arguments ?? "")).toEqual({ order_id: "A1234" });
      const messages = [USER, first.choices[0].message, { role: "tool", tool_call_id: call?.id, content: '{"status": "delivered"}' }];
      const second = await client.chat(ask({ messages, tools: TOOLS, temperature: 0, max_tokens: 40 }));
      expect(second.choices[0]).toMatchObject({ finish_reason: "stop", message: { content: "It was delivered. Grüße 🙂" } });
    });

    test("arguments are rendered as an object, however their string is spaced", async () => {
      const prompt = async (text: string) =>
        await client.tokenize({
          model: server.model,
          tools: TOOLS,
          messages: [
            USER,
            {
              role: "assistant",
              content: null,
              tool_calls: [{ id: "a", type: "function", function: { name: "lookup_order", arguments: text } }],
            },
          ],
        });
      expect(await prompt('{"order_id":"A1"}')).toEqual(await prompt('{ "order_id" :  "A1" }'));
    });

    test("tool_choice none leaves the text alone", async () => {
      const answer = await client.chat(ask({ tools: TOOLS, tool_choice: "none", temperature: 0, max_tokens: 60 }));
      expect(answer.choices[0].message.tool_calls ?? []).toEqual([]);
    });

    test("an aborted stream frees the server", async () => {
      const controller = new AbortController();
      const response = await client.post("/v1/chat/completions", ask({ stream: true, temperature: 2, max_tokens: 80 }), controller.signal);
      await response.body?.getReader().read();
      controller.abort();
      await expect
        .poll(async () => await (await client.get("/metrics")).text(), { timeout: 10_000 })
        .toMatch(/^vllm:num_requests_running\{.*\} 0/m);
      expect((await client.chat(ask())).choices[0].finish_reason).toBeDefined();
    });

    test.runIf(traits.deterministic)("a seed gives the same bytes alone and among twenty others", async () => {
      const mine = (): Promise<ChatAnswer> =>
        client.chat(ask({ temperature: 2, max_tokens: 30, seed: 99, return_token_ids: true, logprobs: true }));
      const alone = await mine();
      const others = Array.from({ length: 20 }, (_, n) =>
        client.chat(
          ask({
            messages: [{ ...USER, content: `${USER.content} ${"please ".repeat(n)}` }],
            temperature: 2,
            max_tokens: 5 + 2 * n,
            seed: n,
            ...(n % 2 ? { tools: TOOLS } : {}),
          }),
        ),
      );
      const [crowded] = await Promise.all([mine(), ...others]);
      expect(crowded.choices).toEqual(alone.choices);
      expect((await mine()).choices).toEqual(alone.choices);
      expect(
        (await client.chat(ask({ temperature: 2, max_tokens: 30, seed: 98, return_token_ids: true }))).choices[0].token_ids,
      ).not.toEqual(alone.choices[0].token_ids);
    });

    test.each<[string, string, (model: string, max: number) => unknown, number]>([
      ["JSON that breaks off", "/v1/chat/completions", () => '{"model":', 400],
      ["no messages", "/v1/chat/completions", (model) => ({ model }), 400],
      ["empty messages", "/v1/chat/completions", (model) => ({ model, messages: [] }), 400],
      ["a negative temperature", "/v1/chat/completions", (model) => ({ model, messages: [USER], temperature: -1 }), 400],
      ["top_p above one", "/v1/chat/completions", (model) => ({ model, messages: [USER], top_p: 1.5 }), 400],
      ["no room for a token", "/v1/chat/completions", (model) => ({ model, messages: [USER], max_tokens: 0 }), 400],
      ["a number for messages", "/v1/chat/completions", (model) => ({ model, messages: 7 }), 400],
      ["an unknown model", "/v1/chat/completions", () => ({ model: "nobody", messages: [USER] }), 404],
      ["an unknown model for ids", "/v1/completions", () => ({ model: "nobody", prompt: [1, 2], max_tokens: 1 }), 404],
      [
        "a prompt that is too long",
        "/v1/completions",
        (model, max) => ({ model, prompt: Array.from({ length: max + 1 }, () => 5), max_tokens: 1 }),
        400,
      ],
      [
        "a chat that is too long",
        "/v1/chat/completions",
        (model, max) => ({ model, messages: [{ ...USER, content: "order 1 ".repeat(max) }] }),
        400,
      ],
      ["an id outside the vocabulary", "/v1/completions", (model) => ({ model, prompt: [1, 10_000_000], max_tokens: 1 }), 400],
      ["an empty prompt", "/v1/completions", (model) => ({ model, prompt: [], max_tokens: 1 }), 400],
      ["an empty cache salt", "/v1/completions", (model) => ({ model, prompt: [1, 2], max_tokens: 1, cache_salt: "" }), 400],
      ["an adapter without a path", "/v1/load_lora_adapter", () => ({ lora_name: "x" }), 400],
      ["an adapter that is not loaded", "/v1/unload_lora_adapter", () => ({ lora_name: "nobody" }), 404],
    ])("%s is refused in the shape of vLLM's errors", async (_, path, body, status) => {
      const max = (await client.models())[0]?.max_model_len ?? 512;
      const response = await client.post(path, body(server.model, max));
      const { error } = errorSchema.parse(await response.json());
      expect([response.status, error.code]).toEqual([status, status]);
    });

    test("a role that does not exist is refused where roles are checked", async () => {
      const response = await client.post("/v1/chat/completions", {
        model: server.model,
        messages: [{ role: "oracle", content: "x" }],
        max_tokens: 2,
      });
      expect(response.status).toBe(traits.checksRoles ? 400 : 200);
    });
  });
}
