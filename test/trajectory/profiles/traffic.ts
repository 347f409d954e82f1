import { hash } from "node:crypto";
import type { ToolAnnotations } from "../../../src/trace/message.ts";
import { learnProfiles } from "../../../src/trajectory/learn-profiles.ts";
import type { ToolConfig, ToolFact, ToolProfile } from "../../../src/trajectory/tool-profile.ts";
import type { Trajectory } from "../../../src/trajectory/trajectory.ts";
import { conversation, type Step } from "../../rollout/build.ts";
import { define } from "../../worlds/world.ts";

export type Call = Step;
const text = { type: "string" };

/** A tool that only reads, by the word of its server. */
export const reads = (name: string, ...args: string[]): ReturnType<typeof define> & { annotations: ToolAnnotations } => ({
  ...define(name, Object.fromEntries(args.map((arg) => [arg, text])), []),
  annotations: { readOnlyHint: true },
});

/** A tool of which nothing is said. */
export const unsaid = (name: string, ...args: string[]): ReturnType<typeof define> =>
  define(name, Object.fromEntries(args.map((arg) => [arg, text])), []);

/** Conversations an hour apart; `turns` of the `index`-th, whose calls run a second apart from `startMs + 1_000`. */
export function traffic(
  count: number,
  tools: Trajectory["tools"],
  turns: (index: number, startMs: number) => readonly Call[],
  says: (index: number) => string = () => "hello",
): Trajectory[] {
  return Array.from({ length: count }, (_, index) => {
    const startMs = 1_790_000_000_000 + index * 3_600_000;
    return conversation(`c${String(index).padStart(3, "0")}`, turns(index, startMs), { startMs, tools, says: says(index) });
  });
}

export function learned(trajectories: readonly Trajectory[], tool: string, configs: Record<string, ToolConfig> = {}): ToolProfile {
  const profile = learnProfiles(configs, trajectories).get(tool);
  if (profile === undefined) throw new Error(`no profile of ${tool}`);
  return profile;
}

export function factOf(profile: ToolProfile, about: string, value?: string): ToolFact | undefined {
  return profile.facts.find((fact) => fact.about === about && (value === undefined || fact.value === value));
}

/** The time of the `turn`-th call of a conversation, as an ISO text. */
export const timeOf = (startMs: number, turn: number): string => new Date(startMs + 1_000 * (turn + 1)).toISOString();

/** A UUID that depends on its number alone. */
export function uuid(number: number): string {
  const digits = hash("sha256", `${number}`);
  return [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20, 32)].join("-");
}
