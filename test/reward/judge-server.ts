import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface JudgeRequest {
  messages: { role: string; content: string }[];
  body: Record<string, unknown>;
}

/** What the server does with one request: reply with text, or with a status, or never. */
export type Behaviour =
  | { text: string }
  | { refusal: string }
  | { status: number; headers?: Record<string, string>; message?: string }
  | { hang: true };

export interface JudgeServer {
  url: string;
  requests: JudgeRequest[];
  close(): Promise<void>;
}

/** An OpenAI-compatible chat endpoint that does what `behave` says for each request. Usage is 100 tokens in, 10 out. */
export async function startJudgeServer(
  behave: (request: JudgeRequest, index: number) => Behaviour | Promise<Behaviour>,
): Promise<JudgeServer> {
  const requests: JudgeRequest[] = [];
  const answer = async (text: string, response: ServerResponse): Promise<void> => {
    const body = JSON.parse(text) as Record<string, unknown>;
    const request = { messages: body["messages"] as JudgeRequest["messages"], body };
    const behaviour = await behave(request, requests.push(request) - 1);
    if ("hang" in behaviour) return;
    const isText = !("status" in behaviour);
    response.writeHead(isText ? 200 : behaviour.status, { "content-type": "application/json", ...(isText ? {} : behaviour.headers) });
    response.end(JSON.stringify(isText ? completion(behaviour) : { error: { message: behaviour.message ?? "scripted failure" } }));
  };
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => void answer(Buffer.concat(chunks).toString("utf8"), response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function completion(reply: { text: string } | { refusal: string }): object {
  const message =
    "text" in reply ? { role: "assistant", content: reply.text } : { role: "assistant", content: null, refusal: reply.refusal };
  return { choices: [{ index: 0, message, finish_reason: "stop" }], usage: { prompt_tokens: 100, completion_tokens: 10 } };
}

/** Scores by content, as an honest judge would: who checked the policy is best, who was cut off is worst, whatever the order. */
export function honestScores(request: JudgeRequest): { id: string; explanation: string; score: number }[] {
  const sections = (request.messages[1]?.content ?? "").split(/<trajectory id="/).slice(1);
  return sections.map((section) => {
    const id = section.slice(0, section.indexOf('"'));
    const score = section.includes("checked the policy") ? 0.9 : section.includes("cut off") ? 0.1 : 0.2 + (section.length % 7) / 20;
    return { id, explanation: "looked at it", score };
  });
}
