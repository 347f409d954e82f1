import { createCascade, type Answer, type Cascade } from "../../src/rollout/cascade/cascade.ts";
import { emptyOverlay, type Overlay } from "../../src/rollout/cascade/overlay.ts";
import type { ReplayStart } from "../../src/rollout/cascade/situation.ts";
import { startOfTrajectory } from "../../src/rollout/start.ts";
import { createTapePool } from "../../src/rollout/cascade/tape-pool.ts";
import type { Message } from "../../src/trace/message.ts";
import { withEras } from "../../src/trajectory/era.ts";
import { learnProfiles } from "../../src/trajectory/learn-profiles.ts";
import { tapeOf, turnHashOf } from "../../src/trajectory/record-tape.ts";
import type { ToolConfig } from "../../src/trajectory/tool-profile.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { define, toolConfig } from "../worlds/world.ts";

export interface Step {
  tool: string;
  args: unknown;
  result: unknown;
}

const text = { type: "string" };
const shopTools = [
  define("lookup_order", { order_id: text }),
  define("refund_policy", { item: text }),
  define("issue_refund", { order_id: text, reason: text }, ["order_id"]),
];
export const shopConfigs: Record<string, ToolConfig> = {
  lookup_order: toolConfig({ class: "read", argumentRoles: { order_id: "key" }, entityPaths: ["order:{order_id}"] }),
  refund_policy: toolConfig({ class: "constant", argumentRoles: { item: "key" } }),
  issue_refund: toolConfig({ class: "write", argumentRoles: { order_id: "key", reason: "freeText" }, entityPaths: ["order:{order_id}"] }),
};

export const lookup = (orderId: string, status = "delivered", refunded = false): Step => ({
  tool: "lookup_order",
  args: { order_id: orderId },
  result: { order_id: orderId, item: "lamp", status, refunded },
});
export const refund = (orderId: string): Step => ({
  tool: "issue_refund",
  args: { order_id: orderId },
  result: { order_id: orderId, refunded: true },
});
export const refundFails = (orderId: string): Step => ({ ...refund(orderId), result: { error: "already refunded", order_id: orderId } });
export const policyOf = (item: string, days = 30): Step => ({ tool: "refund_policy", args: { item }, result: { item, refund_days: days } });
export const notFound = (orderId: string): Step => ({
  tool: "lookup_order",
  args: { order_id: orderId },
  result: { error: "order not found", order_id: orderId },
});

/** A recorded conversation: one turn per item, each turn's calls in parallel; a call a second from `startMs`, 10 ms each. */
export function conversation(
  id: string,
  turns: readonly (Step | readonly Step[])[],
  options: { startMs?: number; user?: string | null; says?: string; overrides?: Partial<Trajectory>; tools?: Trajectory["tools"] } = {},
): Trajectory {
  const startMs = options.startMs ?? 0;
  const messages: Message[] = [
    { role: "system", parts: [{ type: "text", content: "You work for a shop." }] },
    { role: "user", parts: [{ type: "text", content: options.says ?? `please help me with my order ${namedIn(turns)}` }] },
  ];
  const toolTimings: Trajectory["toolTimings"] = [];
  for (const [turn, item] of turns.entries()) {
    const steps: readonly Step[] = Array.isArray(item) ? item : [item as Step];
    const idOf = (index: number): string => `c${turn}-${index}`;
    messages.push({
      role: "assistant",
      parts: steps.map((step, index) => ({ type: "tool_call", id: idOf(index), name: step.tool, arguments: step.args })),
    });
    for (const [index, step] of steps.entries()) {
      const response = typeof step.result === "string" ? step.result : JSON.stringify(step.result);
      messages.push({ role: "tool", parts: [{ type: "tool_call_response", id: idOf(index), response }] });
      const startedAtMs = startMs + 1_000 * (turn + 1) + 20 * index;
      toolTimings.push({ callId: idOf(index), startedAtMs, latencyMs: 10, isError: false, traceId: id, spanId: idOf(index) });
    }
  }
  messages.push({ role: "assistant", parts: [{ type: "text", content: "Done." }] });
  return {
    id,
    version: 1,
    conversationId: id,
    conversationKey: id,
    tenant: "acme",
    agent: "shop",
    parentId: null,
    subject: options.user === undefined ? `user of ${id}` : options.user,
    startedAtMs: startMs,
    endedAtMs: startMs + 1_000 * (turns.length + 1),
    model: "m",
    adapterDigest: null,
    assignment: null,
    messages,
    tools: options.tools === undefined ? shopTools.map((tool) => ({ ...tool })) : options.tools,
    toolTimings,
    sampling: {},
    usage: { inputTokens: 0, outputTokens: 0, calls: turns.length + 1 },
    finishReason: "stop",
    dialects: ["semconv"],
    spans: [{ traceId: id, spanId: "root" }],
    contentHash: `content of ${id}`,
    verdict: { trainable: true, reasons: [] },
    ...options.overrides,
  };
}

/** What a customer would have to say for the agent to know what it asks about. */
function namedIn(turns: readonly (Step | readonly Step[])[]): string {
  return turns
    .flat()
    .flatMap(({ args }) => (typeof args === "object" && args !== null ? Object.values(args) : []))
    .join(" ");
}

/** The cascade over the tapes of `trajectories`; those named in `heldOut` are behind the wall. */
export function cascadeFor(
  trajectories: readonly Trajectory[],
  options: { configs?: Record<string, ToolConfig>; heldOut?: readonly string[] } = {},
): Cascade {
  const profiles = learnProfiles(options.configs ?? shopConfigs, trajectories);
  const tapes = withEras(
    trajectories.map((one) => tapeOf(one, { profiles, split: options.heldOut?.includes(one.id) === true ? "held_out" : "train" })),
  );
  return createCascade(
    createTapePool(tapes, { profiles, split: "train" }),
    tapes.map(({ id }) => id),
  );
}

/** Plays turns of calls from the start of a conversation and returns every answer. */
export function play(
  cascade: Cascade,
  trajectory: Trajectory,
  turns: readonly (Pick<Step, "tool" | "args"> | readonly Pick<Step, "tool" | "args">[])[],
  seed: readonly (string | number)[] = [1, 0],
): readonly (Answer & { state: string })[] {
  const start: ReplayStart = startOfTrajectory(trajectory);
  let overlay: Overlay = emptyOverlay();
  return turns.flatMap((item) => {
    const calls = (Array.isArray(item) ? item : [item]) as readonly Pick<Step, "tool" | "args">[];
    const prepared = calls.map(({ tool, args }) => cascade.prepare(start, tool, args));
    const turn = turnHashOf(prepared.map(({ callKey }) => callKey));
    return prepared.map((call) => {
      const answer = cascade.answer({ pool: cascade.pool, start, overlay }, call, { seed, turn });
      overlay = cascade.advance(overlay, call, answer);
      return { ...answer, state: overlay.prefix };
    });
  });
}
