import type { Message } from "../../src/trace/message.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { asServed, mapTexts, redacted, type Names } from "./names.ts";
import type { Task, World, WorldCall, WorldKind } from "./world.ts";

/** Something that happened to the world while a conversation was open, and that the conversation did not do. */
export type ForeignEvent = (world: World) => void;

export interface Recorded {
  /** As it is stored: people by this conversation's pseudonyms, long answers cut off. */
  trajectory: Trajectory;
  /** In the conversation's own names. */
  task: Task;
  turns: readonly (readonly WorldCall[])[];
  names: Names;
  /** How this conversation's agent spells a call: its tools may be newer than what a policy was written for. */
  spelled: (call: WorldCall) => WorldCall;
  /** The world as the conversation found it. */
  before: World;
  /** What others did while it was open, in order. */
  foreign: readonly ForeignEvent[];
}

/** A conversation under way. */
export interface Open {
  id: number;
  task: Task;
  before: World;
  tools: WorldKind["tools"];
  spelled: Recorded["spelled"];
  turns: (readonly WorldCall[])[];
  messages: Message[];
  timings: Trajectory["toolTimings"];
  turn: number;
  startedAtMs: number;
  foreign: ForeignEvent[];
}

/** A conversation that opens on `world` as it is now. `released`: with the tools of the world's later version. */
export function begin(kind: WorldKind, task: Task, world: World, at: { id: number; clockMs: number; released: boolean }): Open {
  const { id, clockMs } = at;
  const later = at.released ? kind.later : undefined;
  return {
    id,
    task,
    tools: later?.tools ?? kind.tools,
    spelled: later?.spelled ?? ((call) => call),
    before: world.clone(),
    turns: [],
    messages: [
      { role: "system", parts: [{ type: "text", content: `You work for the ${kind.name}.` }] },
      { role: "user", parts: [{ type: "text", content: task.message }] },
    ],
    timings: [],
    turn: 0,
    startedAtMs: clockMs,
    foreign: [],
  };
}

/** One more turn: its calls, a call every 20 ms up to `endedAtMs`, and what they were answered. */
export function note(current: Open, calls: readonly WorldCall[], answers: readonly string[], endedAtMs: number): void {
  current.turns.push(calls);
  const ids = calls.map((_, index) => `c${current.turn}-${index}`);
  const parts = calls.map((call, index) => ({
    type: "tool_call" as const,
    id: ids[index] as string,
    name: call.tool,
    arguments: call.args,
  }));
  current.messages.push({ role: "assistant", parts });
  for (const [index, answer] of answers.entries()) {
    const callId = ids[index] as string;
    current.messages.push({ role: "tool", parts: [{ type: "tool_call_response", id: callId, response: answer }] });
    const startedAtMs = endedAtMs - 20 * (calls.length - 1 - index);
    current.timings.push({ callId, startedAtMs, latencyMs: 10, isError: false, traceId: `t${current.id}`, spanId: `s${callId}` });
  }
  current.turn += 1;
}

/** The conversation as it is stored. */
export function finished(kind: WorldKind, current: Open, reply: string, endedAtMs: number): Recorded {
  current.messages.push({ role: "assistant", parts: [{ type: "text", content: reply }] });
  const id = `${kind.name}-${String(current.id).padStart(4, "0")}`;
  const { messages, pseudonyms, names } = redacted(current.messages);
  const named = <T>(value: T): T => mapTexts(value, (text) => asServed(names, text));
  return {
    task: named(current.task),
    turns: named(current.turns),
    names,
    spelled: current.spelled,
    before: current.before,
    foreign: current.foreign,
    trajectory: {
      id,
      version: 1,
      conversationId: id,
      conversationKey: id,
      tenant: "acme",
      agent: kind.name,
      parentId: null,
      subject: current.task.user,
      startedAtMs: current.startedAtMs,
      endedAtMs,
      model: "m",
      adapterDigest: null,
      assignment: null,
      messages: messages.map((message) => cutOff(message, kind.longestResult)),
      pseudonyms,
      tools: current.tools.map((tool) => ({ ...tool })),
      toolTimings: current.timings,
      sampling: {},
      usage: { inputTokens: 0, outputTokens: 0, calls: current.turn + 1 },
      finishReason: "stop",
      dialects: ["semconv"],
      spans: [{ traceId: `t${current.id}`, spanId: "root" }],
      contentHash: `content-${id}`,
      verdict: { trainable: true, reasons: [] },
    },
  };
}

/** What a recorder with a limit keeps of a message. */
function cutOff(message: Message, longest: number): Message {
  const parts = message.parts.map((part) => {
    const text: unknown = "response" in part ? part.response : null;
    if (part.type !== "tool_call_response" || typeof text !== "string" || text.length <= longest) return part;
    return { ...part, response: `${text.slice(0, longest)}…[truncated ${text.length - longest} characters]` };
  });
  return { ...message, parts };
}
