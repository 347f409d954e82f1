import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { RolloutCall, RolloutSession, RolloutSessions } from "../rollout-session.ts";
import { parseObject, readBody } from "./body.ts";
import { forward, type Forwarded } from "./forward.ts";
import { signalOf, upstreamHeaders, type ServedAgent } from "./live-request.ts";
import { count, record, records, text } from "./live-api.ts";
import { sendRefusal } from "./refusal.ts";

/**
 * A chat call of a rollout's agent: model, seed and sampling are the session's whatever the agent asked for; prompt ids, completion ids and logprobs go
 * into the session's record and out of the answer, unless the agent asked for them. An agent that streams gets the whole answer as one chunk.
 */
export async function handleRollout(
  request: IncomingMessage,
  response: ServerResponse,
  options: { sessions: RolloutSessions; agents: ReadonlyMap<string, ServedAgent>; sessionId: string; maxBodyBytes: number },
): Promise<void> {
  const session = options.sessions.find(options.sessionId);
  const agent = session === null ? undefined : options.agents.get(session.publicModel);
  if (session === null || agent === undefined) {
    return sendRefusal(response, { status: 404, code: "unknown_rollout", message: "No rollout session has this id." });
  }
  const body = await readBody(request, options.maxBodyBytes);
  if (body === null)
    return sendRefusal(response, {
      status: 413,
      code: "body_too_large",
      message: `Request bodies are limited to ${options.maxBodyBytes} bytes.`,
    });
  const asked = parseObject(body);
  if (asked === null)
    return sendRefusal(response, { status: 400, code: "invalid_json", message: "The request body is not a JSON object." });
  const forwarded = await forward(agent.fleet, {
    method: "POST",
    path: "/v1/chat/completions",
    headers: upstreamHeaders(request.headers, randomUUID()),
    body: Buffer.from(JSON.stringify(forcedBody(asked, session))),
    idempotent: true,
    targets: [{ name: session.model, digest: session.adapterDigest }],
    isCandidate: false,
    signal: signalOf(response),
  });
  if (forwarded.status === "refused") return sendRefusal(response, forwarded.refusal);
  if (forwarded.status === "aborted") return;
  const bytes = await wholeAnswer(forwarded);
  const { statusCode } = forwarded.answer;
  if (statusCode !== 200) return sendJson(response, statusCode, bytes);
  const answer = parseObject(bytes);
  const call = answer === null ? null : sampledCall(answer, session);
  if (answer === null || call === null) {
    return sendRefusal(response, {
      status: 502,
      code: "rollout_ids_missing",
      message: "The policy server did not return token ids and logprobs.",
    });
  }
  options.sessions.record(session.id, call);
  const visible = stripped(answer, asked);
  if (asked["stream"] === true) sendAsStream(response, visible, record(asked["stream_options"])["include_usage"] === true);
  else sendJson(response, 200, Buffer.from(JSON.stringify(visible)));
}

async function wholeAnswer({ answer, release }: Extract<Forwarded, { status: "answered" }>): Promise<Buffer> {
  let outcome: "ok" | "failed" = "failed";
  try {
    const bytes = Buffer.from(await answer.body.arrayBuffer());
    outcome = "ok";
    return bytes;
  } finally {
    release(outcome);
  }
}

function forcedBody(asked: Record<string, unknown>, { model, seed, sampling }: RolloutSession): Record<string, unknown> {
  const { stream: _stream, stream_options: _options, ...rest } = asked;
  return {
    ...rest,
    model,
    seed,
    n: 1,
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: sampling.topK,
    min_p: sampling.minP,
    logprobs: true,
    return_token_ids: true,
    // Ids of a stream's pieces would have to be cut out of its events; a whole answer is simpler, and a rollout has no one who watches it.
    stream: false,
  };
}

/** Null when ids or logprobs are missing or do not fit together. */
function sampledCall(answer: Record<string, unknown>, session: RolloutSession): RolloutCall | null {
  const choice = records(answer["choices"])[0] ?? {};
  const promptTokenIds = numbers(answer["prompt_token_ids"]);
  const completionTokenIds = numbers(choice["token_ids"]);
  const logprobs = numbers(records(record(choice["logprobs"])["content"]).map((token) => token["logprob"]));
  const finishReason = text(choice["finish_reason"]);
  if (promptTokenIds === null || completionTokenIds === null || logprobs === null || finishReason === undefined) return null;
  if (logprobs.length !== completionTokenIds.length) return null;
  return {
    promptTokenIds,
    completionTokenIds,
    logprobs,
    finishReason,
    adapterDigest: session.adapterDigest,
    sampling: { ...session.sampling, seed: session.seed },
  };
}

function numbers(value: unknown): readonly number[] | null {
  return Array.isArray(value) && value.every((each) => count(each) !== undefined) ? (value as number[]) : null;
}

function stripped(answer: Record<string, unknown>, asked: Record<string, unknown>): Record<string, unknown> {
  const keepIds = asked["return_token_ids"] === true;
  const { prompt_token_ids: promptTokenIds, choices, ...rest } = answer;
  return {
    ...rest,
    ...(keepIds ? { prompt_token_ids: promptTokenIds } : {}),
    choices: records(choices).map(({ token_ids: tokenIds, logprobs, ...choice }) => ({
      ...choice,
      logprobs: asked["logprobs"] === true ? logprobs : null,
      ...(keepIds ? { token_ids: tokenIds } : {}),
    })),
  };
}

function sendJson(response: ServerResponse, status: number, body: Buffer): void {
  response.writeHead(status, { "content-type": "application/json", "content-length": body.length });
  response.end(body);
}

/** The whole answer as a stream of two or three chunks, in the shape of `chat.completion.chunk`. */
function sendAsStream(response: ServerResponse, answer: Record<string, unknown>, includeUsage: boolean): void {
  const { usage, choices, ...rest } = answer;
  const head = { ...rest, object: "chat.completion.chunk" };
  const choice = records(choices)[0] ?? {};
  const message = record(choice["message"]);
  const calls = records(message["tool_calls"]).map((call, index) => ({ index, ...call }));
  const delta = { ...message, ...(calls.length === 0 ? {} : { tool_calls: calls }) };
  const chunks = [
    { ...head, choices: [{ ...choice, message: undefined, delta, finish_reason: null }] },
    { ...head, choices: [{ index: 0, delta: {}, finish_reason: choice["finish_reason"] }] },
    ...(includeUsage ? [{ ...head, choices: [], usage }] : []),
  ];
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  response.end([...chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`), "data: [DONE]\n\n"].join(""));
}
