import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface JudgeRequest {
  messages: { role: string; content: string }[];
  body: Record<string, unknown>;
}

/** What the server does with one request: reply with text, with any message or body at all, with a status, with half an answer, or never. */
export type Behaviour =
  | { text: string; usage?: { prompt_tokens: number; completion_tokens: number } }
  | { refusal: string }
  | { message: unknown }
  | { body: string }
  | { status: number; headers?: Record<string, string>; message?: string }
  /** Headers and the beginning of a body, then the connection breaks, or nothing more comes. */
  | { half: "cut" | "silent" }
  | { hang: true };

export interface JudgeServer {
  url: string;
  requests: JudgeRequest[];
  close(): Promise<void>;
}

/** An OpenAI-compatible chat endpoint that does what `behave` says for each request. Usage is 100 tokens in, 10 out, unless told. */
export async function startJudgeServer(
  behave: (request: JudgeRequest, index: number) => Behaviour | Promise<Behaviour>,
): Promise<JudgeServer> {
  const requests: JudgeRequest[] = [];
  const answer = async (text: string, response: ServerResponse): Promise<void> => {
    const body = JSON.parse(text) as Record<string, unknown>;
    const request = { messages: body["messages"] as JudgeRequest["messages"], body };
    play(await behave(request, requests.push(request) - 1), response);
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

const JSON_TYPE = { "content-type": "application/json" };

function play(behaviour: Behaviour, response: ServerResponse): void {
  if ("hang" in behaviour) return;
  if ("half" in behaviour) {
    response.writeHead(200, JSON_TYPE);
    response.write('{"choices": [', () => {
      if (behaviour.half === "cut") response.destroy();
    });
    return;
  }
  if ("status" in behaviour) {
    response.writeHead(behaviour.status, { ...JSON_TYPE, ...behaviour.headers });
    response.end(JSON.stringify({ error: { message: behaviour.message ?? "scripted failure" } }));
    return;
  }
  response.writeHead(200, JSON_TYPE);
  response.end("body" in behaviour ? behaviour.body : JSON.stringify(completion(behaviour)));
}

function completion(reply: Extract<Behaviour, { text: string } | { refusal: string } | { message: unknown }>): object {
  const usage = "text" in reply && reply.usage !== undefined ? reply.usage : { prompt_tokens: 100, completion_tokens: 10 };
  return { choices: [{ index: 0, message: messageOf(reply), finish_reason: "stop" }], usage };
}

function messageOf(reply: Extract<Behaviour, { text: string } | { refusal: string } | { message: unknown }>): unknown {
  if ("message" in reply) return reply.message;
  return "text" in reply ? { role: "assistant", content: reply.text } : { role: "assistant", content: null, refusal: reply.refusal };
}

/** The attempts that a request shows: their ids, and what is between their lines. Read as a judge is told to: only lines with the marker are the prompt's own. */
export function attemptsIn({ messages: [system, user] }: JudgeRequest): { id: string; text: string }[] {
  const marker = /begin with (\S+)/.exec(system?.content ?? "")?.[1] ?? "no marker";
  const sections = (user?.content ?? "").split(`${marker} <trajectory id="`).slice(1);
  return sections.map((section) => ({ id: section.slice(0, section.indexOf('"')), text: section }));
}

/** Scores by content, as an honest judge would: who checked the policy is best, who was cut off is worst, whatever the order. */
export function honestScores(request: JudgeRequest): { id: string; explanation: string; score: number }[] {
  return attemptsIn(request).map(({ id, text }) => {
    const score = text.includes("checked the policy") ? 0.9 : text.includes("cut off") ? 0.1 : 0.2 + (text.length % 7) / 20;
    return { id, explanation: "looked at it", score };
  });
}
