import { expect, test } from "vitest";
import type { ChatRequest, PolicyServer } from "../../src/serving/policy-server.ts";
import { spreadCalls } from "../../src/serving/spread.ts";

const request: ChatRequest = { model: "m", messages: [], tools: [], sampling: { temperature: 1, topP: 1, maxTokens: 1, seed: 1 } };

/** A replica that writes down who was asked with which priority. */
function replica(name: string, asked: [string, number | undefined][]): PolicyServer {
  const nothing = () => Promise.reject(new Error("not asked"));
  return {
    chat({ priority }) {
      asked.push([name, priority]);
      const ids = { promptTokenIds: [1], completionTokenIds: [2], logprobs: [-1] };
      return Promise.resolve({ status: "completed", message: { role: "assistant", content: name }, finishReason: "stop", ...ids });
    },
    ...{ promptLogprobs: nothing, models: nothing, loadAdapter: nothing, unloadAdapter: nothing },
  };
}

test("replicas take turns, and every call has the priority that was given for all", async () => {
  const asked: [string, number | undefined][] = [];
  const both = [replica("a", asked), replica("b", asked)];
  const server = spreadCalls(() => both, { priority: 2 });
  for (let call = 0; call < 3; call += 1) await server.chat({ ...request, priority: 0 });
  expect(asked).toEqual([
    ["a", 2],
    ["b", 2],
    ["a", 2],
  ]);
});
