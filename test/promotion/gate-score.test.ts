import { afterAll, beforeAll, expect, test } from "vitest";
import { scoreRollout } from "../../src/promotion/gate-score.ts";
import type { SampledCall } from "../../src/rollout/group.ts";
import { createVllm } from "../../src/serving/vllm.ts";
import { startTinyServer } from "../serving/tiny-server.ts";

/** On a server's own numbers: what a candidate's rollout is worth to itself and to the base. */
let server: Awaited<ReturnType<typeof startTinyServer>>;
let policy: ReturnType<typeof createVllm>;
beforeAll(async () => {
  server = await startTinyServer();
  policy = createVllm({ url: server.baseUrl, timeoutMs: 60_000, connections: 4 });
}, 120_000);
afterAll(async () => {
  await policy.close();
  await server.stop();
});

const { signal } = new AbortController();
const score = (calls: readonly SampledCall[], candidate: string) =>
  scoreRollout(calls, { candidate, stable: "base", base: "base" }, { policyServer: policy, cacheSalt: "gate", signal });

async function sampled(model: string): Promise<SampledCall> {
  const sampling = { temperature: 1, topP: 1, maxTokens: 32, seed: 7 };
  const result = await policy.chat({ model, messages: [{ role: "user", content: "where is A1042?" }], tools: [], sampling });
  if (result.status !== "completed") throw result.error;
  const { promptTokenIds, completionTokenIds, logprobs, finishReason } = result;
  return { promptTokenIds, completionTokenIds, logprobs, finishReason, adapterDigest: model, sampling: { ...sampling, topK: 0, minP: 0 } };
}

test("at temperature 1 a candidate's scored logprobs are those that it sampled with, and its distance is from the base's", async () => {
  expect(await policy.loadAdapter({ name: "candidate", path: server.adapters.good })).toEqual({ status: "loaded" });
  const call = await sampled("candidate");
  const ids = [...call.promptTokenIds, ...call.completionTokenIds];
  const base = await policy.promptLogprobs({ model: "base", promptTokenIds: ids, cacheSalt: "test" });
  if (base.status !== "completed") throw base.error;
  const sum = (values: readonly (number | null)[]) => values.reduce<number>((total, value) => total + (value ?? Number.NaN), 0);
  const expected = sum(call.logprobs) - sum(base.logprobs.slice(call.promptTokenIds.length));
  const measured = await score([call], "candidate");
  expect(measured).toEqual({
    tokens: call.completionTokenIds.length,
    toStable: measured?.toBase,
    toBase: expect.closeTo(expected, 4) as number,
  });
  expect(Math.abs(expected)).toBeGreaterThan(0.01);
});

test("the base has not moved from itself, and an adapter that nobody serves has no figure", async () => {
  const call = await sampled("base");
  expect(await score([call], "base")).toEqual({ tokens: call.completionTokenIds.length, toStable: 0, toBase: 0 });
  expect(await score([call], "unknown")).toBeNull();
});
