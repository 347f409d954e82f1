import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../../config.ts";
import type { Logger } from "../../log.ts";
import { HEADER } from "../../telemetry.ts";
import type { AssignmentPins } from "../assignment-pins.ts";
import { assignmentKey, servedTarget, type EffectiveRoute } from "../assignment.ts";
import type { RouteTable } from "../route-table.ts";
import type { RouteTarget } from "../routes.ts";
import { createCallMeters, type CallMeters } from "./call-meters.ts";
import type { Capture } from "./capture/capture.ts";
import { callerOf, createAnswerCopy, type SeenCall } from "./capture/seen.ts";
import { forward, type Forwarded } from "./forward.ts";
import type { LiveApi } from "./live-api.ts";
import { sendRefusal } from "./refusal.ts";
import { isEventStream, relay, type RelayEnd } from "./relay.ts";
import { openingOf, readCall, signalOf, upstreamHeaders, type ServedAgent } from "./live-request.ts";

const MAX_CAPTURED_BYTES = 4 * 1024 * 1024;
/** What a call waits for capture, at most so many times, and only where calls come faster than one core can pass on and capture. */
const YIELD_MS = 20;
const MAX_YIELDS = 5;

/** Answers one live call: assigns it, sends it on with the target's model name, relays the answer, captures both sides. */
export function createLiveHandler(
  config: Config["gateway"],
  deps: { agents: ReadonlyMap<string, ServedAgent>; pins: AssignmentPins; capture: Capture | null; routes: RouteTable; log: Logger },
) {
  const meters = createCallMeters();
  return async (request: IncomingMessage, response: ServerResponse, endpoint: { path: string; api: LiveApi }): Promise<void> => {
    const startMs = nowMs();
    const asked = await readCall(request, config.maxBodyBytes, deps.agents);
    if ("refusal" in asked) return sendRefusal(response, asked.refusal);
    for (let yields = 0; yields < MAX_YIELDS && deps.capture?.isBehind() === true; yields += 1) await sleep(YIELD_MS);
    const { agent, body, parsed, receivedMs } = asked;
    const { api } = endpoint;
    const route = deps.routes.effective(agent.agent) ?? baseOnly(agent);
    const opening = () => openingOf(request.headers, parsed, api);
    const key = assignmentKey(request.headers, { traceparent: config.key.traceparent, opening });
    const caller = callerOf(request.headers);
    const assignment = deps.pins.assign(route, key, (drawn) => {
      if (drawn.experimentId === null) return;
      deps.capture?.see({ kind: "assignment", agent: agent.agent, caller, assignment: drawn, atMs: startMs });
    });
    const target = servedTarget(route, assignment);
    const requestId = randomUUID();
    const forwarded = await forward(agent.fleet, {
      method: "POST",
      path: endpoint.path,
      headers: upstreamHeaders(request.headers, requestId),
      body,
      idempotent: api.idempotent,
      targets: targetsFrom(target, route.stable, agent.base),
      isCandidate: target !== route.stable,
      signal: signalOf(response),
      onFailover: (reason) => meters.failover(agent.agent, reason),
    });
    const call = { requestId, agent: agent.agent, arm: assignment.arm, receivedMs, captures: deps.capture !== null };
    const outcome = await answerCall(forwarded, response, call, meters);
    meters.ended({ agent: agent.agent, arm: assignment.arm, status: response.headersSent ? response.statusCode : null, ...outcome });
    const facts = { kind: "call", agent: agent.agent, path: endpoint.path, publicModel: agent.model, caller, assignment } as const;
    deps.capture?.see({ ...facts, ...outcome, request: body, startMs, endMs: nowMs() });
  };
}

type Outcome = Pick<SeenCall, "target" | "fallback" | "answer" | "isEventStream" | "errorType" | "firstByteMs">;

/** Hands the client its answer, or the reason why there is none, and says what happened. */
async function answerCall(
  forwarded: Forwarded,
  response: ServerResponse,
  call: { requestId: string; agent: string; arm: string; receivedMs: number; captures: boolean },
  meters: CallMeters,
): Promise<Outcome> {
  const nothing = { target: null, fallback: null, answer: null, isEventStream: false, firstByteMs: null };
  if (forwarded.status === "aborted") return { ...nothing, errorType: "client_left" };
  if (forwarded.status === "refused") {
    sendRefusal(response, forwarded.refusal);
    return { ...nothing, fallback: forwarded.fallback, errorType: forwarded.refusal.code };
  }
  const { answer, target, fallback } = forwarded;
  const copy = call.captures ? createAnswerCopy(MAX_CAPTURED_BYTES) : null;
  let firstByteMs: number | null = null;
  let end: RelayEnd = "upstream_broke";
  try {
    const relaying = relay(answer, response, {
      headers: { "x-request-id": call.requestId, [HEADER.adapter]: target.digest, [HEADER.arm]: call.arm },
      seen: (chunk) => {
        firstByteMs ??= nowMs();
        forwarded.noteLife();
        copy?.add(chunk);
      },
    });
    // The headers are written by now, the body is not.
    meters.addedLatency(call.agent, performance.now() - call.receivedMs - forwarded.upstreamMs);
    end = await relaying;
  } finally {
    forwarded.release(releaseOutcome(end));
  }
  const errorType = end !== "complete" ? end : answer.statusCode >= 400 ? String(answer.statusCode) : null;
  return { target, fallback, answer: copy?.pieces() ?? null, isEventStream: isEventStream(answer), errorType, firstByteMs };
}

function releaseOutcome(end: RelayEnd): "ok" | "failed" | "unknown" {
  return end === "complete" ? "ok" : end === "upstream_broke" ? "failed" : "unknown";
}

/**
 * `GET /v1/models`, as the policy server answers it where there is one agent. Of several, who may be several tenants', it says the public names: a policy server's list
 * is of whoever shares it.
 */
export async function passModels(
  request: IncomingMessage,
  response: ServerResponse,
  agents: ReadonlyMap<string, ServedAgent>,
): Promise<void> {
  if (agents.size > 1) {
    const data = [...agents.keys()].map((id) => ({ id, object: "model", created: 0, owned_by: "nightshift" }));
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ object: "list", data }));
    return;
  }
  const agent = agents.values().next().value;
  if (agent === undefined) return sendRefusal(response, { status: 404, code: "no_agents", message: "No agent is configured." });
  const requestId = randomUUID();
  const forwarded = await forward(agent.fleet, {
    method: "GET",
    path: "/v1/models",
    headers: upstreamHeaders(request.headers, requestId),
    body: null,
    idempotent: true,
    targets: [agent.base],
    isCandidate: false,
    signal: signalOf(response),
  });
  if (forwarded.status === "refused") return sendRefusal(response, forwarded.refusal);
  if (forwarded.status === "aborted") return;
  const end = await relay(forwarded.answer, response, { headers: { "x-request-id": requestId }, seen: () => undefined });
  forwarded.release(releaseOutcome(end));
}

function baseOnly({ agent, base }: ServedAgent): EffectiveRoute {
  return { agent, stable: base, candidate: null, weight: 0, experimentId: null, salt: null, version: 0 };
}

function targetsFrom(first: RouteTarget, ...others: readonly RouteTarget[]): [RouteTarget, ...RouteTarget[]] {
  const names = new Set([first.name]);
  return [first, ...others.filter(({ name }) => !names.has(name) && names.add(name))];
}

function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
