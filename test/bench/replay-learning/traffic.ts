import type { Limiter } from "../../../src/limiter.ts";
import type { Rollout } from "../../../src/rollout/group.ts";
import { playMember } from "../../../src/rollout/member.ts";
import type { MemberPlan } from "../../../src/rollout/plan.ts";
import { seededInteger } from "../../../src/rollout/seed.ts";
import { startOfTrajectory } from "../../../src/rollout/start.ts";
import type { ToolSession } from "../../../src/rollout/tool-session.ts";
import type { PolicyServer } from "../../../src/serving/policy-server.ts";
import { textOf, type Message } from "../../../src/trace/message.ts";
import type { Trajectory } from "../../../src/trajectory/trajectory.ts";
import type { LearningWorld, System, Thread, Visit } from "./learning-world.ts";

const TEMPERATURE = 0.6;
const MAX_CALLS = 6;
const HOUR_MS = 3_600_000;
const START_MS = 1_790_000_000_000;

/** Who answers: a served model, and the draws' seed. */
export interface Answering {
  policyServer: PolicyServer;
  model: string;
  seed: number;
  limiter: Limiter;
}

type Agent = Pick<LearningWorld, "agent" | "systemPrompt" | "tools">;

/** One conversation as production would have recorded it, the system as it found it, and whether it helped. */
export interface RecordedVisit {
  trajectory: Trajectory;
  before: System;
  success: boolean;
}

/** The true environment: calls are executed on this system. */
export function trueSession(system: System, startMs = 0): ToolSession & { timings: Trajectory["toolTimings"] } {
  const timings: Trajectory["toolTimings"] = [];
  let turns = 0;
  return {
    timings,
    answer(turn) {
      const results = turn.map(({ tool, arguments: raw }, index) => {
        const answer = system.call(tool, parsed(raw));
        const callId = `call_${turns}_${index}`;
        const startedAtMs = startMs + 10_000 * (turns + 1) + 100 * index;
        timings.push({ callId, startedAtMs, latencyMs: 50, isError: answer.isError, traceId: `t${startMs}`, spanId: callId });
        return answer;
      });
      turns += 1;
      return Promise.resolve({ results, end: null });
    },
    journal: () => [],
    elapsedMs: () => 0,
  };
}

/** A day of the starting policy's traffic. Threads share nothing, so each has its system to itself; who was not helped comes back. */
export async function recordDay(agent: Agent, threads: readonly Thread[], answering: Answering): Promise<RecordedVisit[]> {
  const days = await Promise.all(threads.map((thread, index) => answering.limiter(() => recordThread(agent, thread, index, answering))));
  return days.flat();
}

/** Success of every thread's one visit in the true environment, in order. */
export async function measure(agent: Agent, threads: readonly Thread[], answering: Answering): Promise<boolean[]> {
  return Promise.all(
    threads.map(({ system, visits: [visit] }) =>
      answering.limiter(async () => {
        if (visit === undefined) throw new RangeError("a thread without a visit");
        const after = system.clone();
        const { reply } = await converse(agent, visit, after, answering, 0);
        return visit.finish(system, after, reply).success;
      }),
    ),
  );
}

async function recordThread(agent: Agent, { system, visits }: Thread, index: number, answering: Answering): Promise<RecordedVisit[]> {
  const recorded: RecordedVisit[] = [];
  for (const first of visits) {
    for (let visit: Visit | null = first; visit !== null;) {
      const startMs = START_MS + index * HOUR_MS + recorded.length * (HOUR_MS / 20);
      const before = system.clone();
      const { rollout, timings, reply } = await converse(agent, visit, system, answering, startMs);
      const { success, next } = visit.finish(before, system, reply);
      recorded.push({ before, success, trajectory: trajectoryOf(agent, visit, rollout, timings, startMs) });
      visit = next;
    }
  }
  return recorded;
}

async function converse(
  agent: Agent,
  visit: Visit,
  system: System,
  answering: Answering,
  startMs: number,
): Promise<{ rollout: Rollout; timings: Trajectory["toolTimings"]; reply: string }> {
  const session = trueSession(system, startMs);
  const rollout = await playMember(planOf(agent, visit, answering, session));
  const last = rollout.messages.at(-1);
  const reply = rollout.end.status === "completed" && last?.role === "assistant" ? textOf(last) : "";
  return { rollout, timings: session.timings, reply };
}

function planOf(agent: Agent, visit: Visit, { policyServer, model, seed }: Answering, session: ToolSession): MemberPlan {
  const trajectory = trajectoryOf(agent, visit, null, [], 0);
  const scenario = {
    ...{ id: visit.id, tenant: "default", agent: agent.agent, trajectoryId: visit.id, trajectoryVersion: 1, conversationId: visit.id },
    ...{ subject: visit.user, cluster: "", tapes: [], mode: "loop" as const, split: "train" as const },
    ...{ recordedAtMs: 0, recordedCalls: MAX_CALLS },
    start: { messages: trajectory.messages, userTurns: [], tools: [...agent.tools], clockMs: 0 },
  };
  return {
    ...{ scenario, start: startOfTrajectory(trajectory), policyServer, model, adapterDigest: "" },
    ...{ runId: "bench", groupSize: 1, runSeed: seed, iteration: 0 },
    sampling: { temperature: TEMPERATURE, topP: 1, maxTokens: 64 },
    limits: { maxCalls: MAX_CALLS, maxSimulatedShare: 1, maxAttempts: 5 },
    rolloutId: visit.id,
    seed: seededInteger("converse", seed, visit.id),
    openTools: () => session,
    get cascade(): never {
      throw new RangeError("the true environment has no tapes");
    },
  };
}

function trajectoryOf(
  agent: Agent,
  { id, user, message }: Visit,
  rollout: Rollout | null,
  toolTimings: Trajectory["toolTimings"],
  startMs: number,
): Trajectory {
  const messages: Message[] = [
    { role: "system", parts: [{ type: "text", content: agent.systemPrompt }] },
    { role: "user", parts: [{ type: "text", content: message }] },
  ];
  return {
    ...{ id, version: 1, conversationId: id, conversationKey: id, tenant: "default", agent: agent.agent, parentId: null, subject: user },
    ...{ startedAtMs: startMs, endedAtMs: startMs + 120_000, model: agent.agent, adapterDigest: null, assignment: null },
    messages: rollout === null ? messages : [...rollout.messages],
    tools: [...agent.tools],
    toolTimings,
    sampling: { temperature: TEMPERATURE },
    ...{ usage: { inputTokens: 0, outputTokens: 0, calls: rollout?.calls.length ?? 0 }, finishReason: "stop", dialects: ["semconv"] },
    ...{ spans: [{ traceId: `t${startMs}`, spanId: "root" }], contentHash: id, verdict: { trainable: true, reasons: [] } },
  };
}

function parsed(raw: unknown): unknown {
  if (typeof raw !== "string") return raw;
  try {
    return JSON.parse(raw) as unknown;
  } catch {
    return null;
  }
}
