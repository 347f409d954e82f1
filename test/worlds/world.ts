import type { ToolDefinition } from "../../src/trace/message.ts";
import { parseResult } from "../../src/trajectory/record-tape.ts";
import type { ToolConfig } from "../../src/trajectory/tool-profile.ts";
import type { Random } from "../../deploy/quickstart/random.ts";
import type { Table } from "./table.ts";

/** A small system with real state: the oracle that replay is compared with. */
export interface World {
  /** Executes one call and answers as the agent's request would carry it. Mistakes are answered, never thrown. */
  call(tool: string, args: unknown): string;
  /** A change that no agent made and no tape shows. */
  background(random: Random): void;
  /** The system's next version goes live; nothing happens where there is none. */
  release(): void;
  clone(): World;
  /** Calls answered so far, and how many of them changed something: replay must leave both alone. */
  counters(): { calls: number; writes: number };
  /** Equal for equal state. */
  fingerprint(): string;
  /** Whether something in the world has this id now. */
  taken(id: string): boolean;
}

export interface WorldCall {
  tool: string;
  args: unknown;
}

/** What a customer wants: enough for a policy to act, and their first message. */
export interface Task {
  user: string;
  message: string;
  kind: string;
  ids: Readonly<Record<string, string>>;
}

/** An agent: yields the calls of one turn, gets their answers, returns its reply. */
export type Policy = (task: Task, random: Random) => Generator<readonly WorldCall[], string, readonly string[]>;

export interface WorldKind {
  name: string;
  /** What makes this world hard to replay: name → how it bites. */
  traps: Readonly<Record<string, string>>;
  tools: readonly ToolDefinition[];
  /** The release, where there is one: the tools of conversations that begin after it, and how their agents spell a call. */
  later?: { tools: readonly ToolDefinition[]; spelled: (call: WorldCall) => WorldCall };
  toolConfigs: Readonly<Record<string, ToolConfig>>;
  /** The tools that change the world, whatever their annotation says. */
  writes: ReadonlySet<string>;
  /** Result paths, by tool, that differ from call to call and mean nothing. */
  clocks: Readonly<Record<string, readonly string[]>>;
  /** Result paths, by tool, at which a new id is given out. */
  newIds: Readonly<Record<string, readonly string[]>>;
  /** Longer answers are cut off on their way to the tape. */
  longestResult: number;
  create(seed: number): World;
  task(random: Random): Task;
  /** Noisy: detours, repetitions, mistakes. Records the tapes. */
  policy: Policy;
  /** A call about the task's own things that the recorded run may not have made: a fresh read, a forgotten write. */
  extra(task: Task, random: Random): WorldCall;
}

/** Arguments as far as any of the worlds' tools takes them. */
export type Arguments = Readonly<Record<string, string | number | undefined>>;

/** What a world does; `tick` differs with every call. */
export interface Rules<S> {
  /** The tools in every form that is understood now; other arguments are refused. */
  tools(state: S): readonly ToolDefinition[];
  answer(state: S, tool: string, args: Arguments, tick: number): unknown;
  background(state: S, random: Random): void;
  release?(state: S): void;
  taken(state: S, id: string): boolean;
}

/** A world of tables. */
export function createWorld<S extends Readonly<Record<string, Table<object>>>>(
  state: S,
  rules: Rules<S>,
  counters = { calls: 0, writes: 0 },
): World {
  const fingerprint = (): string =>
    Object.values(state)
      .map((table) => table.fingerprint())
      .join(" ");
  return {
    call(tool, args) {
      counters.calls += 1;
      const before = fingerprint();
      const given = cleaned(args);
      const problem = problemOf(rules.tools(state), tool, given);
      const answer = JSON.stringify(
        problem === null ? rules.answer(state, tool, (given ?? {}) as Arguments, counters.calls) : { error: problem },
      );
      if (fingerprint() !== before) counters.writes += 1;
      return answer;
    },
    background: (random) => rules.background(state, random),
    release: () => rules.release?.(state),
    clone() {
      const copies = Object.entries(state).map(([name, table]) => [name, table.copy()]);
      return createWorld(Object.fromEntries(copies) as S, rules, { ...counters });
    },
    counters: () => ({ ...counters }),
    fingerprint,
    taken: (id) => rules.taken(state, id),
  };
}

/** A tool profile as the config would hold it, with its defaults. */
export function toolConfig(config: Partial<ToolConfig> & Pick<ToolConfig, "class">): ToolConfig {
  return { argumentRoles: {}, entityPaths: [], volatileResultPaths: [], errorPath: "error", ...config };
}

/** A definition whose arguments are strings unless said otherwise. */
export function define(
  name: string,
  properties: Record<string, Record<string, unknown>>,
  required = Object.keys(properties),
): ToolDefinition {
  return {
    name,
    description: name.replaceAll("_", " "),
    parameters: { type: "object", properties, required, additionalProperties: false },
  };
}

/** A field of an answer that is a text; `otherwise` where it is none. */
export function textAt(fields: Readonly<Record<string, unknown>>, name: string, otherwise = ""): string {
  const value = fields[name];
  return typeof value === "string" ? value : otherwise;
}

/** An answer's fields; none where it is no object, or cut off. */
export function parsed(answer: string | undefined): Record<string, unknown> {
  const value = answer === undefined ? {} : parseResult(answer);
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

/** Texts trimmed, as every form of the same argument must mean the same; null where there is no object. */
function cleaned(args: unknown): Record<string, unknown> | null {
  if (typeof args !== "object" || args === null || Array.isArray(args)) return null;
  const entries = Object.entries(args) as [string, unknown][];
  return Object.fromEntries(entries.map(([name, value]) => [name, typeof value === "string" ? value.trim() : value]));
}

function problemOf(tools: readonly ToolDefinition[], tool: string, args: Record<string, unknown> | null): string | null {
  const forms = tools.filter(({ name }) => name === tool);
  if (forms.length === 0) return `no tool ${tool}`;
  if (args === null) return "invalid arguments";
  return forms.some((form) => fits(form, args)) ? null : "invalid arguments";
}

function fits({ parameters }: ToolDefinition, args: Readonly<Record<string, unknown>>): boolean {
  const properties = parameters?.["properties"] as Record<string, { type: string }>;
  const required = parameters?.["required"] as readonly string[];
  if (!required.every((name) => args[name] !== undefined)) return false;
  return Object.entries(args).every(([name, value]) => {
    const type = properties[name]?.type;
    if (type === "integer") return Number.isInteger(Number(value)) && value !== "" && value !== null && typeof value !== "boolean";
    return type === "string" && typeof value === "string";
  });
}
