import type { ToolConfig } from "../../../src/trajectory/tool-profile.ts";
import type { ToolDefinition } from "../../../src/trace/message.ts";

/** A small system with true state: the environment that one arm of the comparison has and the other has not. */
export interface System {
  /** Executes one call. Mistakes are answered, never thrown. */
  call(tool: string, args: unknown): { text: string; isError: boolean };
  clone(): System;
}

/** One conversation that a customer starts: they send one message and read the reply. */
export interface Visit {
  /** Unique within its day. */
  id: string;
  user: string;
  message: string;
  /** How it went by the system's own state and the reply, and the customer's next visit: null where they were helped or stay away. */
  finish(before: System, after: System, reply: string): { success: boolean; next: Visit | null };
}

/** Visits that follow one another on one system; what they change, no other thread ever looks at. */
export interface Thread {
  system: System;
  visits: readonly Visit[];
}

/** One conversation of the scripted teacher from which a starting policy is made, in the form of a chat template. */
export interface Demonstration {
  messages: {
    role: "user" | "assistant" | "tool";
    content: string;
    tool_calls?: { type: "function"; function: { name: string; arguments: Readonly<Record<string, string | number>> } }[];
  }[];
  success: boolean;
}

/** A scripted teacher from whom a small model learns the world's ways, mistakes included. */
export interface Lessons {
  /** `count` conversations; the same seed gives the same ones. Clean ones are without mistakes. */
  conversations(seed: number, count: number, noise: "clean" | "noisy"): Iterable<Demonstration>;
}

/** Everything that one world brings to the comparison. */
export interface LearningWorld {
  name: string;
  /** Also the served name of the starting policy. */
  agent: string;
  systemPrompt: string;
  tools: readonly ToolDefinition[];
  /** What its operator would write about the tools. */
  toolConfigs: Readonly<Record<string, Partial<ToolConfig>>>;
  /** File of its scripted judge, which reads transcripts alone. */
  judge: string;
  /** How long a night is: with the shop's hyperparameters, tuned where calls are executed, so that it leaves something to tell apart. */
  iterations: number;
  /** The starting policy: a directory, or what it is made from. */
  model: { directory: string } | { lessons: Lessons };
  /** A day of customers; `seed` decides everything. */
  day(seed: number): readonly Thread[];
  /** Customers and clusters of tasks that no day has, a thread each, one visit each. */
  fresh(seed: number, customers: number): readonly Thread[];
}
