import type { Random } from "../../../deploy/quickstart/random.ts";
import type { Demonstration, Thread } from "./learning-world.ts";

/** Calls a tool in the name of the teacher; its answer's fields. */
export type TeacherCall = (tool: string, args: Readonly<Record<string, string | number>>) => Record<string, unknown>;

/** Has the teacher serve the first visit of a thread; `teach` returns its reply. */
export function demonstrate({ system, visits: [visit] }: Thread, teach: (call: TeacherCall) => string): Demonstration {
  if (visit === undefined) throw new RangeError("a thread without a visit");
  const after = system.clone();
  const messages: Demonstration["messages"] = [{ role: "user", content: visit.message }];
  const reply = teach((tool, args) => {
    const { text } = after.call(tool, args);
    messages.push({ role: "assistant", content: "", tool_calls: [{ type: "function", function: { name: tool, arguments: args } }] });
    messages.push({ role: "tool", content: text });
    return JSON.parse(text) as Record<string, unknown>;
  });
  messages.push({ role: "assistant", content: reply });
  return { messages, success: visit.finish(system, after, reply).success };
}

/** How a customer says it. Two in ten are polite, four in ten terse, four in ten pushy: by this, a starting policy goes wrong. */
export type Tone = "plain" | "terse" | "pushy";

export function drawTone(random: Random): Tone {
  return random.pick(["plain", "plain", "terse", "terse", "terse", "terse", "pushy", "pushy", "pushy", "pushy"] as const);
}
