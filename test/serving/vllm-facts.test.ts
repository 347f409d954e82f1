import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { examineVllm } from "../../src/serving/vllm-facts.ts";
import { sendJson, startUpstream } from "./fake-upstream.ts";

test("a server that has just started may take longer for its first completion than for anything else", async () => {
  let completions = 0;
  const server = await startUpstream(async ({ url, body }, response) => {
    if (url !== "/v1/completions") return sendJson(response, { data: [{ id: "base" }] });
    if (++completions === 1) await sleep(1_500);
    const logprob = -1 / Number(body["temperature"] ?? 1);
    sendJson(response, { choices: [{ logprobs: { top_logprobs: [{ "!": logprob }] } }] });
  });
  expect(await examineVllm({ url: server.url, model: "base", timeoutMs: 1_000 })).toMatchObject({ hasProcessedLogprobs: true });
  await server.close();
});
