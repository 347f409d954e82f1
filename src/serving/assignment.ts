import { createHash } from "node:crypto";
import type { Assignment } from "../trace/call.ts";
import { HEADER } from "../telemetry.ts";
import type { RouteTarget } from "./routes.ts";

/** The routes of one agent as they are in force now. */
export interface EffectiveRoute {
  agent: string;
  stable: RouteTarget;
  candidate: RouteTarget | null;
  /** Share of assignment keys that the candidate gets now; 0 when its lease has lapsed. */
  weight: number;
  experimentId: string | null;
  salt: string | null;
  version: number;
}

export interface AssignmentKey {
  key: string;
  /** Made from the request's content: two conversations may share it, so it is left out of the analysis. */
  weak: boolean;
}

const MAX_KEY_LENGTH = 200;

/** Where a key falls in [0, 1): the first 8 bytes of sha256(salt ‖ key), big-endian, over 2^64, cut to the 53 bits of a double. */
export function assignmentPoint(salt: string, key: string): number {
  const digest = createHash("sha256").update(salt, "utf8").update(key, "utf8").digest();
  // Dividing all 64 bits would round the largest hashes up to 1, which no weight reaches.
  return Number(digest.readBigUInt64BE(0) >> 11n) / 2 ** 53;
}

/**
 * Draws a key's arm. Growing `weight` only adds keys to the candidate; a new salt draws all keys anew.
 * Outside an experiment, and while the candidate is off, the draw is stable with probability 0: such a key is in no analysis.
 */
export function drawAssignment(route: EffectiveRoute, key: AssignmentKey): Assignment {
  const weight = route.candidate === null || route.salt === null ? 0 : route.weight;
  const isCandidate = weight > 0 && assignmentPoint(route.salt ?? "", key.key) < weight;
  return {
    experimentId: route.experimentId,
    key: key.key,
    weakKey: key.weak,
    arm: isCandidate ? "candidate" : "stable",
    probability: weight,
    routeVersion: route.version,
  };
}

/** The target that serves a pinned assignment now: its arm's, or stable where the candidate is off or the experiment is another one. */
export function servedTarget(route: EffectiveRoute, assignment: Assignment): RouteTarget {
  const isLive = route.candidate !== null && route.weight > 0 && assignment.experimentId === route.experimentId;
  return assignment.arm === "candidate" && isLive && route.candidate !== null ? route.candidate : route.stable;
}

/**
 * The key of a request: `x-trajectory-id`, else `x-session-id`, else (only where configured) the trace id of `traceparent`,
 * else a weak one over credential, system prompt and first user message.
 */
export function assignmentKey(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  options: { traceparent: boolean; opening: () => { credential: string; system: string; firstUser: string } },
): AssignmentKey {
  for (const name of [HEADER.trajectoryId, HEADER.sessionId]) {
    const value = headers[name];
    if (typeof value === "string" && value.trim() !== "") return { key: bounded(value.trim()), weak: false };
  }
  const traceId = options.traceparent ? traceIdOf(headers["traceparent"]) : null;
  if (traceId !== null) return { key: traceId, weak: false };
  const { credential, system, firstUser } = options.opening();
  const hash = createHash("sha256");
  for (const part of [credential, system, firstUser]) {
    // Lengths keep ("ab", "c") and ("a", "bc") apart.
    hash.update(`${Buffer.byteLength(part)}:`).update(part);
  }
  return { key: `weak-${hash.digest("hex").slice(0, 32)}`, weak: true };
}

function bounded(value: string): string {
  return value.length <= MAX_KEY_LENGTH ? value : `sha256-${createHash("sha256").update(value).digest("hex")}`;
}

function traceIdOf(header: string | string[] | undefined): string | null {
  const match = typeof header === "string" ? /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/.exec(header) : null;
  return match?.[1] === undefined || /^0+$/.test(match[1]) ? null : match[1];
}
