import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createClient, errorSchema, USER, type Client, type PolicyServerUnderTest } from "./policy-server-http.ts";

/** Where servers differ; the activation proof and the adapter agent stand in for what is false here. */
export interface AdapterTraits {
  /** Tensors of another base model are refused when they are loaded; vLLM finds out later, or never. */
  checksShapes: boolean;
}

/** The part of the contract that concerns adapters. Every test takes away what it loaded. */
export function policyServerAdapterContract(name: string, start: () => Promise<PolicyServerUnderTest>, traits: AdapterTraits): void {
  describe(`policy server contract, adapters: ${name}`, () => {
    let server: PolicyServerUnderTest;
    let client: Client;

    beforeAll(async () => {
      server = await start();
      client = createClient(server.baseUrl);
    });
    afterAll(async () => {
      await server?.stop();
    });

    /** Greedy tokens with their logprobs: equal weights give equal numbers, other weights give others. */
    const figures = async (model: string): Promise<{ ids: number[]; logprobs: number[] }> => {
      const answer = await client.chat({ model, messages: [USER], max_tokens: 8, temperature: 0, logprobs: true, return_token_ids: true });
      expect(answer.model).toBe(model);
      return { ids: answer.choices[0].token_ids ?? [], logprobs: answer.choices[0].logprobs?.content.map((token) => token.logprob) ?? [] };
    };
    const first = async (model: string): Promise<number> => (await figures(model)).logprobs[0] ?? Number.NaN;

    test("loads, lists with root and parent, serves, unloads, forgets", async () => {
      const loaded = await client.load("a-1", server.adapters.good);
      expect([loaded.status, await loaded.text()]).toEqual([200, "Success: LoRA adapter 'a-1' added successfully."]);
      expect((await client.models()).find((card) => card.id === "a-1")).toMatchObject({ root: server.adapters.good, parent: server.model });
      expect(await first("a-1")).not.toBeCloseTo(await first(server.model), 3);
      const unloaded = await client.unload("a-1");
      expect([unloaded.status, await unloaded.text()]).toEqual([200, "Success: LoRA adapter 'a-1' removed successfully."]);
      expect((await client.models()).map((card) => card.id)).toEqual([server.model]);
      expect((await client.post("/v1/chat/completions", { model: "a-1", messages: [USER] })).status).toBe(404);
      expect((await client.unload("a-1")).status).toBe(404);
    });

    test("a name that is loaded is refused with 400 and keeps its weights", async () => {
      await client.load("b-1", server.adapters.good);
      const before = await first("b-1");
      const again = await client.load("b-1", server.adapters.other);
      expect(again.status).toBe(400);
      expect(errorSchema.parse(await again.json()).error.message).toContain("already been loaded");
      expect(await first("b-1")).toBe(before);
      await client.unload("b-1");
    });

    const PLACES = { "c-1": "good", "c-2": "other", "c-3": "noop" } as const;
    /** First logprob of every model alone and, several of each, in one batch. */
    const aloneAndTogether = async (): Promise<{ alone: Record<string, number>; together: [string, number][] }> => {
      const names = [...Object.keys(PLACES), server.model];
      const alone: Record<string, number> = {};
      for (const model of names) alone[model] = await first(model);
      const together = Array.from({ length: 16 }, async (_, n): Promise<[string, number]> => {
        const model = names[n % names.length] ?? "";
        return [model, await first(model)];
      });
      return { alone, together: await Promise.all(together) };
    };
    const loadAll = () => Promise.all(Object.entries(PLACES).map(([name, kind]) => client.load(name, server.adapters[kind])));
    const unloadAll = () => Promise.all(Object.keys(PLACES).map((name) => client.unload(name)));

    test("several adapters at once each answer with their own weights, the base with its own, also after an unload", async () => {
      for (let round = 0; round < 2; round += 1) {
        await loadAll();
        try {
          const { alone, together } = await aloneAndTogether();
          for (const [model, logprob] of together) expect(logprob).toBeCloseTo(alone[model] ?? Number.NaN, 4);
          const [one, two, noop, base] = Object.values(alone) as [number, number, number, number];
          expect(Math.min(Math.abs(one - two), Math.abs(one - base), Math.abs(two - base))).toBeGreaterThan(1e-3);
          expect(noop).toBeCloseTo(base, 4);
        } finally {
          await unloadAll();
        }
      }
    });

    test.each([["wide"], ...(traits.checksShapes ? [["foreign"] as const] : []), ["truncated"], ["missing"]] as const)(
      "an adapter that cannot be served is refused and not listed: %s",
      async (kind) => {
        const path = kind === "missing" ? "/nonexistent/adapter" : server.adapters[kind];
        const response = await client.load(`bad-${kind}`, path);
        // vLLM answers 400, 404 or 500 here, by version and reason.
        expect(response.status).toBeGreaterThanOrEqual(400);
        errorSchema.parse(await response.json());
        expect((await client.models()).map((card) => card.id)).toEqual([server.model]);
        expect((await client.chat({ model: server.model, messages: [USER], max_tokens: 2 })).model).toBe(server.model);
      },
    );

    test("a fresh name with other weights does not answer from the old one's cache", async () => {
      await client.load("d-1", server.adapters.good);
      const old = await first("d-1");
      await client.unload("d-1");
      await client.load("d-2", server.adapters.other);
      expect(await first("d-2")).not.toBeCloseTo(old, 3);
      await client.unload("d-2");
    });
  });
}
