import { createRandom, type Random } from "../../../deploy/quickstart/random.ts";
import type { Message, ToolDefinition } from "../../../src/trace/message.ts";
import { bookingsWorld } from "../../worlds/bookings-world.ts";
import { shopWorld } from "../../worlds/shop-world.ts";
import type { World, WorldKind } from "../../worlds/world.ts";

/** Attempts at the same conversation: what the customer says is the same in all of them, what the agent does is not. */
export interface BenchGroup {
  id: string;
  tools: readonly ToolDefinition[];
  members: Message[][];
}

/** What the ids of tool calls look like: drawn for every call, as policy servers do it, or by turn and place, as replay writes them down. */
export type CallIds = "drawn" | "replayed";

const MEMBERS = 4;
const TASKS = 6;

const INSTRUCTIONS: Record<string, string> = {
  shop: "You are the support agent of an online shop. Look every order up before you say anything about it, and never guess a status, a price or a date. Before you pay an order back, read the refund policy of its item and compare it with the order's age; an order that is older than the policy allows is not paid back. An order that is still being processed may be cancelled, any other may not. Say in one or two sentences what you did, with the number of the order. Be polite, do not repeat yourself, and ask for the number of the order where the customer has not given it.",
  bookings:
    "You are the agent of a bookings desk for hotels. Look a booking or a room up before you say anything about it, and never guess whether a room is free. Before you cancel a booking, read the cancellation policy of its hotel. Book a room only when the customer has asked for it and it has the beds that were asked for. Say in one or two sentences what you did, with the number of the booking. Be polite, do not repeat yourself, and ask for what is missing.",
};

/** Long conversations of customer service with many tool results, of both worlds in turn. The same seed gives the same groups. */
export function benchGroups(count: number, seed: number, ids: CallIds): BenchGroup[] {
  return Array.from({ length: count }, (_, index) => {
    const kind = index % 2 === 0 ? shopWorld : bookingsWorld;
    const world = kind.create(seed + index);
    const asked = createRandom("bench-tasks", seed, index);
    const tasks = Array.from({ length: TASKS }, () => kind.task(asked));
    const members = Array.from({ length: MEMBERS }, (_, member) =>
      play(kind, world.clone(), tasks, { random: createRandom("bench-member", seed, index, member), ids }),
    );
    return { id: `${kind.name}-${index}`, tools: kind.tools, members };
  });
}

function play(
  kind: WorldKind,
  world: World,
  tasks: readonly ReturnType<WorldKind["task"]>[],
  { random, ids }: { random: Random; ids: CallIds },
): Message[] {
  const messages: Message[] = [said("system", INSTRUCTIONS[kind.name] ?? "")];
  let turn = 0;
  for (const task of tasks) {
    messages.push(said("user", task.message));
    const policy = kind.policy(task, random);
    let answers: string[] = [];
    for (let step = policy.next(answers); ; step = policy.next(answers)) {
      if (step.done === true) {
        messages.push(said("assistant", step.value));
        turn += 1;
        break;
      }
      const calls = step.value.map((call, index) => ({ ...call, id: ids === "drawn" ? drawnId(random) : `call_${turn}_${index}` }));
      messages.push({
        role: "assistant",
        parts: calls.map(({ tool, args, id }) => ({ type: "tool_call", id, name: tool, arguments: args })),
      });
      answers = calls.map(({ tool, args }) => world.call(tool, args));
      for (const [index, { id }] of calls.entries())
        messages.push({ role: "tool", parts: [{ type: "tool_call_response", id, response: answers[index] ?? "" }] });
      turn += 1;
    }
  }
  return messages;
}

function said(role: string, content: string): Message {
  return { role, parts: [{ type: "text", content }] };
}

/** As vLLM draws them. */
function drawnId(random: Random): string {
  return `chatcmpl-tool-${Array.from({ length: 32 }, () => random.integer(0, 15).toString(16)).join("")}`;
}
