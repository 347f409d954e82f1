import type { IncomingMessage, ServerResponse } from "node:http";
import { textOf } from "../../trace/message.ts";
import type { RouteTarget } from "../routes.ts";
import { parseObject, readBody } from "./body.ts";
import type { LiveApi } from "./live-api.ts";
import type { Refusal } from "./refusal.ts";
import { endToEnd } from "./relay.ts";
import type { Fleet } from "./replicas.ts";

/** One agent with its replicas. */
export interface ServedAgent {
  agent: string;
  model: string;
  base: RouteTarget;
  fleet: Fleet;
}

/** `receivedMs` is when the body's last byte was there, on `performance.now()`'s clock. */
export type AskedCall = { agent: ServedAgent; body: Buffer; parsed: Record<string, unknown>; receivedMs: number } | { refusal: Refusal };

type Headers = IncomingMessage["headers"];

/** Accept-encoding and the request id are the gateway's: capture reads plain bytes, and vLLM takes its request id from the client's. */
const NOT_FORWARDED: ReadonlySet<string> = new Set(["host", "content-length", "accept-encoding", "expect", "x-request-id"]);

/** Headers that go upstream: the caller's end-to-end headers with a request id of our own. */
export function upstreamHeaders(headers: Headers, requestId: string): Record<string, string | string[]> {
  return { ...endToEnd(headers, NOT_FORWARDED), "x-request-id": requestId };
}

/** Aborts when the client's connection closes before the answer was complete. */
export function signalOf(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) controller.abort();
  });
  if (response.destroyed) controller.abort();
  return controller.signal;
}

/** Reads and checks the body of a live call and finds the agent that its model name means. */
export async function readCall(request: IncomingMessage, maxBytes: number, agents: ReadonlyMap<string, ServedAgent>): Promise<AskedCall> {
  const encoding = request.headers["content-encoding"];
  if (encoding !== undefined && encoding !== "identity") {
    return { refusal: { status: 415, code: "unsupported_encoding", message: "Request bodies must not be compressed." } };
  }
  const body = await readBody(request, maxBytes);
  const receivedMs = performance.now();
  if (body === null)
    return { refusal: { status: 413, code: "body_too_large", message: `Request bodies are limited to ${maxBytes} bytes.` } };
  const parsed = parseObject(body);
  if (parsed === null) return { refusal: { status: 400, code: "invalid_json", message: "The request body is not a JSON object." } };
  const model = parsed["model"];
  if (typeof model !== "string") return { refusal: { status: 400, code: "missing_model", message: "The request body names no model." } };
  const agent = agents.get(model);
  // Adapters' own names are not accepted either: who could ask for one would choose an arm.
  if (agent === undefined)
    return { refusal: { status: 404, code: "model_not_found", message: "No agent is configured with this model name." } };
  return { agent, body, parsed, receivedMs };
}

/** What tells conversations apart when no header does. */
export function openingOf(headers: Headers, parsed: Record<string, unknown>, api: LiveApi) {
  const { input } = api.readRequest(parsed);
  const credential = headers.authorization ?? headers["x-api-key"] ?? "";
  return {
    credential: Array.isArray(credential) ? credential.join() : credential,
    system: input
      .filter(({ role }) => role === "system" || role === "developer")
      .map(textOf)
      .join("\n"),
    firstUser: input
      .filter(({ role }) => role === "user")
      .slice(0, 1)
      .map(textOf)
      .join(),
  };
}
