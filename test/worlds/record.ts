import { createRandom, type Random } from "../../deploy/quickstart/random.ts";
import type { Message } from "../../src/trace/message.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import type { Task, World, WorldCall, WorldKind } from "./world.ts";

/** Something that happened to the world while a conversation was open, and that the conversation did not do. */
export type ForeignEvent = (world: World) => void;

export interface Recorded {
  trajectory: Trajectory;
  task: Task;
  /** The world as the conversation found it. */
  before: World;
  /** What others did while it was open, in order. */
  foreign: readonly ForeignEvent[];
}

interface Open extends Omit<Recorded, "trajectory" | "foreign"> {
  id: number;
  run: ReturnType<WorldKind["policy"]>;
  answers: readonly string[];
  messages: Message[];
  timings: Trajectory["toolTimings"];
  turn: number;
  startedAtMs: number;
  foreign: ForeignEvent[];
}

/** Records conversations on one world, several open at once, with somebody changing the world in the background. */
export function record(
  kind: WorldKind,
  options: { seed: number; conversations: number; open?: number; background?: number },
): readonly Recorded[] {
  const random = createRandom("record", kind.name, options.seed);
  const world = kind.create(options.seed);
  const open: Open[] = [];
  const done: Recorded[] = [];
  let clockMs = 1_700_000_000_000;
  let started = 0;
  const tell = (event: ForeignEvent, except: Open | null): void => {
    for (const one of open) if (one !== except) one.foreign.push(event);
  };
  while (done.length < options.conversations) {
    clockMs += random.integer(50, 5_000);
    if (random.chance(options.background ?? 0.05)) {
      const event = backgroundEvent(kind, random.integer(0, 2 ** 30));
      event(world);
      tell(event, null);
    }
    if (started < options.conversations && open.length < (options.open ?? 2) && random.chance(0.5)) {
      open.push(begin(kind, random, world, started, clockMs));
      started += 1;
    }
    if (open.length === 0) continue;
    const current = random.pick(open);
    const next = current.run.next(current.answers);
    if (next.done === true) {
      current.messages.push({ role: "assistant", parts: [{ type: "text", content: next.value }] });
      open.splice(open.indexOf(current), 1);
      done.push(finished(kind, current, clockMs));
      continue;
    }
    current.answers = next.value.map((call) => {
      clockMs += 20;
      tell((other) => void other.call(call.tool, call.args), current);
      return world.call(call.tool, call.args);
    });
    note(current, next.value, clockMs);
  }
  return done;
}

function backgroundEvent(kind: WorldKind, seed: number): ForeignEvent {
  return (world) => world.background(createRandom("background", kind.name, seed));
}

function begin(kind: WorldKind, random: Random, world: World, id: number, clockMs: number): Open {
  const task = kind.task(random);
  return {
    id,
    task,
    before: world.clone(),
    run: kind.policy(task, createRandom("policy", id, random.integer(0, 2 ** 30))),
    answers: [],
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

function note(current: Open, calls: readonly WorldCall[], endedAtMs: number): void {
  const ids = calls.map((_, index) => `c${current.turn}-${index}`);
  const parts = calls.map((call, index) => ({
    type: "tool_call" as const,
    id: ids[index] as string,
    name: call.tool,
    arguments: call.args,
  }));
  current.messages.push({ role: "assistant", parts });
  for (const [index, answer] of current.answers.entries()) {
    const callId = ids[index] as string;
    current.messages.push({ role: "tool", parts: [{ type: "tool_call_response", id: callId, response: answer }] });
    const startedAtMs = endedAtMs - 20 * (calls.length - 1 - index);
    current.timings.push({ callId, startedAtMs, latencyMs: 10, isError: false, traceId: `t${current.id}`, spanId: `s${callId}` });
  }
  current.turn += 1;
}

function finished(kind: WorldKind, current: Open, endedAtMs: number): Recorded {
  const id = `${kind.name}-${String(current.id).padStart(4, "0")}`;
  return {
    task: current.task,
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
      messages: current.messages,
      tools: kind.tools.map((tool) => ({ ...tool })),
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
