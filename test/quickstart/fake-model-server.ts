import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface Received {
  path: string;
  headers: Record<string, string | string[] | undefined>;
  body: Record<string, unknown>;
}

export interface Recorder {
  url: string;
  received: Received[];
  close(): Promise<void>;
}

interface Answer {
  status: number;
  body: unknown;
}

/** Answers every POST by `answer` (a status and a JSON body) and keeps what came. */
export async function record(answer: (request: Received) => Answer | Promise<Answer>): Promise<Recorder> {
  const received: Received[] = [];
  const server: Server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = JSON.parse(Buffer.concat(chunks).toString("utf8")) as Record<string, unknown>;
      const one = { path: request.url ?? "", headers: request.headers, body };
      received.push(one);
      const reply = async (): Promise<void> => {
        const { status, body: replied } = await answer(one);
        response.writeHead(status, { "content-type": "application/json" });
        response.end(JSON.stringify(replied));
      };
      void reply();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    received,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export type Turn = { call: string; args: Record<string, string> } | { say: string };

/** A chat completion as vLLM answers it. */
export function completion(turn: Turn, id: string): unknown {
  const message =
    "say" in turn
      ? { role: "assistant", content: turn.say }
      : {
          role: "assistant",
          content: null,
          tool_calls: [{ id: `call-${id}`, type: "function", function: { name: turn.call, arguments: JSON.stringify(turn.args) } }],
        };
  return {
    id: `completion-${id}`,
    object: "chat.completion",
    created: 1,
    model: "shop-support",
    choices: [{ index: 0, message, logprobs: null, finish_reason: "say" in turn ? "stop" : "tool_calls" }],
    usage: { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 },
  };
}
