import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Routes } from "../../src/serving/routes.ts";
import { HEADER } from "../../src/telemetry.ts";

export interface SeenRequest {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  text: string;
  body: Record<string, unknown>;
}

export type Answerer = (request: SeenRequest, response: ServerResponse) => void | Promise<void>;

/** A policy server on loopback that answers as the test says and keeps what it was asked. */
export async function startUpstream(answer: Answerer) {
  const seen: SeenRequest[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const text = Buffer.concat(chunks).toString("utf8");
      const body = text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
      const asked = { method: request.method ?? "", url: request.url ?? "", headers: request.headers, text, body };
      seen.push(asked);
      void answer(asked, response);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    seen,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export function sendJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

/** Routes, or that there are no newer ones, as the control service answers them; its leader stood by them `afterMs` after the request came, null: not known. */
export function sendRoutes(response: ServerResponse, routes: Routes | null, afterMs: number | null = 0): void {
  const headers = afterMs === null ? {} : { [HEADER.confirmed]: String(afterMs) };
  if (routes === null) response.writeHead(204, headers).end();
  else response.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(routes));
}

/** A chat completion that says which model answered. */
export function completion(model: string, content = "hello"): Record<string, unknown> {
  return {
    id: "chatcmpl-1",
    object: "chat.completion",
    model,
    choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }],
    usage: { prompt_tokens: 7, completion_tokens: 2 },
  };
}

/** Answers every chat with the model that it was asked for. */
export const echo: Answerer = (request, response) => sendJson(response, completion(String(request.body["model"])));

/** vLLM's answer for an adapter that it does not have. */
export function sendUnknownModel(response: ServerResponse, model: unknown): void {
  sendJson(response, { error: { message: `The model \`${String(model)}\` does not exist.`, type: "NotFoundError", code: 404 } }, 404);
}
