import { describe, expect, it } from "vitest";
import type { Message } from "../../../src/trace/message.ts";
import { loadScriptedModule } from "../../../src/reward/scripted-module.ts";
import type { Demonstration, LearningWorld } from "./learning-world.ts";
import { worlds } from "./worlds.ts";

const taught = Object.values(worlds).filter(({ model }) => "lessons" in model);

describe.each(taught)("$name", (world) => {
  it("is served rightly by its teacher, and wrongly in three to four of ten cases where the teacher errs on purpose", () => {
    expect(lessons(world, "clean").filter(({ success }) => !success)).toEqual([]);
    const share = lessons(world, "noisy").filter(({ success }) => success).length / 1_000;
    expect(share).toBeGreaterThan(0.55);
    expect(share).toBeLessThan(0.7);
  });

  it("is judged from transcripts as the system's own state has it", async () => {
    const judge = await loadScriptedModule(world.judge);
    let compared = 0;
    for (const one of lessons(world, "noisy")) {
      // A group in which nobody looked at what was asked about proves nothing.
      const looked = one.messages.some(({ tool_calls: [call] = [] }) => {
        const about = call?.function.arguments[call.function.name === "get_ticket" ? "ticket_id" : "hotel_id"];
        return about !== undefined && one.messages[0]?.content.includes(String(about));
      });
      if (!looked) continue;
      compared += 1;
      const scores = judge.scoreGroup([asMember(one)]);
      expect([one.messages, (scores[0] ?? 0) >= 0.75]).toEqual([one.messages, one.success]);
    }
    expect(compared).toBeGreaterThan(300);
  });

  it("measures customers and clusters that no day has", () => {
    const met = new Set([1, 2, 3].flatMap((seed) => world.day(seed).flatMap(({ visits }) => visits.map(({ user }) => user))));
    const measured = world.fresh(7, 320).flatMap(({ visits }) => visits);
    expect(measured).toHaveLength(320);
    expect(measured.filter(({ user }) => met.has(user))).toEqual([]);
    const clusterOf = (message: string): string => /\b[HP]\d+/.exec(message)?.[0] ?? "";
    const clusters = new Set(
      [1, 2, 3].flatMap((seed) => world.day(seed).flatMap(({ visits }) => visits.map(({ message }) => clusterOf(message)))),
    );
    expect(measured.filter(({ message }) => clusters.has(clusterOf(message)))).toEqual([]);
  });
});

function lessons({ model }: LearningWorld, noise: "clean" | "noisy"): Demonstration[] {
  return "lessons" in model ? [...model.lessons.conversations(5, 1_000, noise)] : [];
}

function asMember({ messages }: Demonstration): { messages: Message[]; end: { status: "completed" } } {
  return { end: { status: "completed" }, messages: messages.map(asMessage) };
}

function asMessage({ role, content, tool_calls: calls = [] }: Demonstration["messages"][number]): Message {
  if (role === "tool") return { role, parts: [{ type: "tool_call_response", response: content }] };
  const [call] = calls;
  return {
    role,
    parts:
      call === undefined
        ? [{ type: "text", content }]
        : [{ type: "tool_call", name: call.function.name, arguments: call.function.arguments }],
  };
}
