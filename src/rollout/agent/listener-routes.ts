import { Hono, type Context } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { McpHttpHandler } from "@modelcontextprotocol/server";
import type { ToolShape } from "../../trajectory/record-tape.ts";
import type { AgentSession, ChatOutcome } from "./agent-session.ts";
import { chunksOf, completionOf } from "./chat-answer.ts";
import { replayServer } from "./mcp-server.ts";
import type { SseSessions } from "./mcp-sse.ts";
import { eventsOf, responseOf, type ResponsesBody } from "./responses-answer.ts";
import { readResponsesRequest } from "./responses-request.ts";

/** A rollout that agents may talk to. */
export interface OpenRollout {
  token: string;
  session: AgentSession;
  tools: readonly ToolShape[];
  mcp: McpHttpHandler;
  sse: SseSessions;
}

const MAX_BODY_BYTES = 16 * 1024 * 1024;
/** 4xx, all of them: an OpenAI client repeats what was answered with 5xx, and nothing here gets better. */
const STATUS = { invalid_request: 400, unsupported_request: 400, rollout_ended: 410, model_unavailable: 424 } as const;

/**
 * The routes of rollouts, below `/rollout/<token>` or with the token as bearer. What is not listed is refused: nothing leads anywhere else.
 * @param options With `onlyToolsOf`, the tools of that rollout at the root and nothing more.
 */
export function rolloutRoutes(find: (token: string) => OpenRollout | "ended" | null, options: { onlyToolsOf?: string } = {}): Hono {
  const app = new Hono();
  app.use(
    bodyLimit({
      maxSize: MAX_BODY_BYTES,
      onError: (context) => refuse(context, 413, "body_too_large", `Bodies are limited to ${MAX_BODY_BYTES} bytes.`),
    }),
  );
  const routed = (handle: Handle) => (context: Context) => {
    const token =
      options.onlyToolsOf ?? context.req.param("token") ?? /^Bearer (\S+)$/i.exec(context.req.header("authorization") ?? "")?.[1] ?? "";
    const rollout = find(token);
    if (rollout === null) return refuse(context, 401, "unknown_rollout", "No rollout has this token.");
    if (rollout === "ended" || rollout.session.ended() !== null) return refuse(context, 410, "rollout_ended", "The rollout has ended.");
    return handle(context, rollout);
  };
  const bases = options.onlyToolsOf === undefined ? ["/rollout/:token", ""] : [""];
  for (const base of bases) {
    app.post(`${base}/tools/:name`, routed(tool));
    if (options.onlyToolsOf !== undefined) continue;
    app.post(`${base}/v1/chat/completions`, routed(chat));
    app.post(`${base}/v1/responses`, routed(respond));
    app.get(
      `${base}/v1/models`,
      routed((context) => context.json({ object: "list", data: [] })),
    );
    app.all(`${base}/mcp`, routed(mcp));
    app.get(`${base}/sse`, routed(openStream));
    app.post(`${base}/messages`, routed(postMessage));
    app.post(
      `${base}/otlp/*`,
      routed((context) => context.json({})),
    );
  }
  app.notFound((context) =>
    refuse(
      context,
      404,
      "unknown_path",
      "Rollouts are answered at /v1/chat/completions, /v1/responses, /mcp, /sse and /tools/<name> only.",
    ),
  );
  app.onError((_, context) => refuse(context, 400, "bad_request", "The request could not be read."));
  return app;
}

type Handle = (context: Context, rollout: OpenRollout) => Response | Promise<Response>;

async function chat(context: Context, { session }: OpenRollout): Promise<Response> {
  const body: unknown = await context.req.json().catch(() => null);
  const outcome: ChatOutcome = await session.chat(body, context.req.raw.signal);
  if (outcome.status === "refused") return refuse(context, STATUS[outcome.problem], outcome.problem, outcome.message);
  if (!outcome.request.stream) return context.json(completionOf(outcome.answer));
  return eventStream(chunksOf(outcome.answer));
}

async function respond(context: Context, { session }: OpenRollout): Promise<Response> {
  const body: unknown = await context.req.json().catch(() => null);
  const outcome = await session.chat(body, context.req.raw.signal, readResponsesRequest);
  if (outcome.status === "refused") return refuse(context, STATUS[outcome.problem], outcome.problem, outcome.message);
  const asked = body as ResponsesBody;
  return outcome.request.stream ? eventStream(eventsOf(outcome.answer, asked)) : context.json(responseOf(outcome.answer, asked));
}

function eventStream(events: readonly string[]): Response {
  return new Response(ReadableStream.from(events.map((event) => new TextEncoder().encode(event))), {
    headers: { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" },
  });
}

/** The recorded answer's own bytes; 400 where it is an error, so that agents that look at the status see one. */
async function tool(context: Context, { session }: OpenRollout): Promise<Response> {
  const text = await context.req.text();
  const result = await session.callTool(context.req.param("name") ?? "", text === "" ? {} : text);
  if (result === null) return refuse(context, 410, "rollout_ended", "The rollout has ended.");
  const type = isJson(result.text) ? "application/json" : "text/plain; charset=utf-8";
  return context.body(result.text, result.isError ? 400 : 200, { "content-type": type });
}

function mcp(context: Context, { mcp: handler }: OpenRollout): Promise<Response> {
  return handler.fetch(context.req.raw);
}

function openStream(context: Context, { sse, session, tools }: OpenRollout): Promise<Response> {
  const path = context.req.path.replace(/\/sse$/, "/messages");
  return sse.open(replayServer(tools, session), (id) => `${path}?sessionId=${id}`);
}

async function postMessage(context: Context, { sse }: OpenRollout): Promise<Response> {
  const isTaken = sse.post(context.req.query("sessionId") ?? "", await context.req.json());
  return isTaken ? context.text("Accepted", 202) : refuse(context, 404, "unknown_session", "No stream has this session id.");
}

function refuse(context: Context, status: ContentfulStatusCode, code: string, message: string): Response {
  return context.json({ error: { message, type: "invalid_request_error", param: null, code } }, status);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
