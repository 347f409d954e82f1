import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createRandom, type Random } from "../../deploy/quickstart/random.ts";
import type { ChatMessage, ChatRequest } from "../../src/serving/policy-server.ts";
import { createVllm } from "../../src/serving/vllm.ts";
import type { Move } from "./scripted-policy.ts";

export interface HttpPolicy {
  policyServer: ReturnType<typeof createVllm>;
  /** Bodies of the chat requests, in order. */
  requests: Record<string, unknown>[];
  close(): Promise<void>;
}

/** A scripted policy behind vLLM's HTTP, on loopback: token ids count characters, tool-call ids are as random as a real server's. */
export async function startHttpPolicy(
  script: (messages: readonly ChatMessage[], random: Random) => Exclude<Move, { result: unknown }>,
): Promise<HttpPolicy> {
  const requests: Record<string, unknown>[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = JSON.parse(Buffer.concat(chunks).toString("utf8")) as Record<string, unknown>;
      requests.push(body);
      const messages = body["messages"] as ChatRequest["messages"];
      const move = script(messages, createRandom(Number(body["seed"]), messages.length));
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify(answerOf(move, messages, requests.length)));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const policyServer = createVllm({ url, timeoutMs: 10_000, connections: 16 });
  return {
    policyServer,
    requests,
    async close() {
      await policyServer.close();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

function answerOf(move: Exclude<Move, { result: unknown }>, messages: readonly ChatMessage[], serial: number): unknown {
  const calls = "calls" in move ? move.calls : [];
  const message = {
    role: "assistant",
    content: "reply" in move ? move.reply : null,
    tool_calls: calls.map(({ tool, args }, index) => ({
      id: `random-${serial}-${index}`,
      type: "function",
      function: { name: tool, arguments: typeof args === "string" ? args : JSON.stringify(args) },
    })),
  };
  const length = JSON.stringify(messages.map(({ content, tool_calls: made }) => [content, made?.map((one) => one.function)])).length;
  return {
    prompt_token_ids: [1, length],
    choices: [
      {
        message,
        finish_reason: calls.length > 0 ? "tool_calls" : "stop",
        token_ids: [2, calls.length],
        logprobs: { content: [{ logprob: -0.5 }, { logprob: -0.25 }] },
      },
    ],
  };
}
