import type { Order } from "../../../deploy/quickstart/catalog.ts";
import { returnVisit, type Contact, type Customer, type World } from "../../../deploy/quickstart/customers.ts";
import { createShop, type Outcome, type Shop } from "../../../deploy/quickstart/shop.ts";
import { systemPrompt, tools } from "../../../deploy/quickstart/tools.ts";
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

const AGENT = "shop-support";
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

/** One conversation as production would have recorded it, and the shop as it found it. */
export interface RecordedVisit {
  trajectory: Trajectory;
  before: readonly Order[];
}

/** The true environment: calls are executed on this shop. */
export function shopSession(shop: Shop, startMs = 0): ToolSession & { timings: Trajectory["toolTimings"] } {
  const timings: Trajectory["toolTimings"] = [];
  let turns = 0;
  return {
    timings,
    answer(turn) {
      const results = turn.map(({ tool, arguments: raw }, index) => {
        const answer = shop.call(tool, parsed(raw));
        const callId = `call_${turns}_${index}`;
        const startedAtMs = startMs + 10_000 * (turns + 1) + 100 * index;
        timings.push({ callId, startedAtMs, latencyMs: 50, isError: answer.status !== 200, traceId: `t${startMs}`, spanId: callId });
        return { text: JSON.stringify(answer.body), isError: answer.status !== 200 };
      });
      turns += 1;
      return Promise.resolve({ results, end: null });
    },
    journal: () => [],
    elapsedMs: () => 0,
  };
}

/** A day of the starting policy's traffic. Customers share no orders, so each has the shop to themselves; who was not helped comes back. */
export async function recordDay(world: World, answering: Answering): Promise<RecordedVisit[]> {
  const days = await Promise.all(
    world.customers.map((customer, index) => answering.limiter(() => recordCustomer(world.orders, customer, index, answering))),
  );
  return days.flat();
}

/** Success of every customer's one visit in the true environment, in order. */
export async function measure(world: World, customers: readonly Customer[], answering: Answering): Promise<boolean[]> {
  return Promise.all(
    customers.map(({ visits: [contact] }) =>
      answering.limiter(async () => {
        if (contact === undefined) throw new RangeError("a customer without a visit");
        const shop = createShop(world.orders);
        return (await converse(contact, shop, answering, 0)).outcome.success;
      }),
    ),
  );
}

async function recordCustomer(orders: readonly Order[], customer: Customer, index: number, answering: Answering): Promise<RecordedVisit[]> {
  const shop = createShop(orders);
  const recorded: RecordedVisit[] = [];
  for (const visit of customer.visits) {
    for (let contact: Contact | null = visit; contact !== null;) {
      const startMs = START_MS + index * HOUR_MS + recorded.length * (HOUR_MS / 20);
      const before = shop.orders();
      const { rollout, timings, outcome } = await converse(contact, shop, answering, startMs);
      recorded.push({ before, trajectory: trajectoryOf(contact, rollout, timings, startMs) });
      contact = returnVisit(contact, outcome);
    }
  }
  return recorded;
}

async function converse(
  contact: Contact,
  shop: Shop,
  answering: Answering,
  startMs: number,
): Promise<{ rollout: Rollout; timings: Trajectory["toolTimings"]; outcome: Outcome }> {
  const session = shopSession(shop, startMs);
  const rollout = await playMember(planOf(contact, answering, session));
  const last = rollout.messages.at(-1);
  const reply = rollout.end.status === "completed" && last?.role === "assistant" ? textOf(last) : "";
  return { rollout, timings: session.timings, outcome: shop.outcome({ orderId: contact.orderId, kind: contact.kind, reply }) };
}

function planOf(contact: Contact, { policyServer, model, seed }: Answering, session: ToolSession): MemberPlan {
  const trajectory = trajectoryOf(contact, null, [], 0);
  const scenario = {
    ...{
      id: contact.contactId,
      tenant: "default",
      agent: AGENT,
      trajectoryId: contact.contactId,
      trajectoryVersion: 1,
      conversationId: contact.contactId,
    },
    ...{
      subject: contact.userId,
      cluster: "",
      tapes: [],
      mode: "loop" as const,
      split: "train" as const,
      recordedAtMs: 0,
      recordedCalls: MAX_CALLS,
    },
    start: { messages: trajectory.messages, userTurns: [], tools: shopTools(), clockMs: 0 },
  };
  return {
    ...{
      scenario,
      start: startOfTrajectory(trajectory),
      policyServer,
      model,
      adapterDigest: "",
      runId: "bench",
      groupSize: 1,
      runSeed: seed,
      iteration: 0,
    },
    sampling: { temperature: TEMPERATURE, topP: 1, maxTokens: 64 },
    limits: { maxCalls: MAX_CALLS, maxSimulatedShare: 1, maxAttempts: 5 },
    rolloutId: contact.contactId,
    seed: seededInteger("converse", seed, contact.contactId),
    openTools: () => session,
    get cascade(): never {
      throw new RangeError("the true environment has no tapes");
    },
  };
}

function trajectoryOf(contact: Contact, rollout: Rollout | null, toolTimings: Trajectory["toolTimings"], startMs: number): Trajectory {
  const id = contact.contactId;
  const messages: Message[] = [
    { role: "system", parts: [{ type: "text", content: systemPrompt }] },
    { role: "user", parts: [{ type: "text", content: contact.message }] },
  ];
  return {
    ...{
      id,
      version: 1,
      conversationId: id,
      conversationKey: id,
      tenant: "default",
      agent: AGENT,
      parentId: null,
      subject: contact.userId,
    },
    ...{ startedAtMs: startMs, endedAtMs: startMs + 120_000, model: AGENT, adapterDigest: null, assignment: null },
    ...{
      messages: rollout === null ? messages : [...rollout.messages],
      tools: shopTools(),
      toolTimings,
      sampling: { temperature: TEMPERATURE },
    },
    ...{ usage: { inputTokens: 0, outputTokens: 0, calls: rollout?.calls.length ?? 0 }, finishReason: "stop", dialects: ["semconv"] },
    ...{ spans: [{ traceId: `t${startMs}`, spanId: "root" }], contentHash: id, verdict: { trainable: true, reasons: [] } },
  };
}

function shopTools(): NonNullable<Trajectory["tools"]> {
  return tools.map(({ function: { name, description, parameters } }) => ({ name, description, parameters: { ...parameters } }));
}

function parsed(raw: unknown): unknown {
  if (typeof raw !== "string") return raw;
  try {
    return JSON.parse(raw) as unknown;
  } catch {
    return null;
  }
}
