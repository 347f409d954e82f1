import type { Call, ToolCall } from "../../trace/call.ts";
import type { ToolCallPart } from "../../trace/message.ts";
import type { Branch } from "./branches.ts";
import { argumentsKey } from "./items.ts";
import { byStart, createSurroundings, parentOf, type SpanIndex, spanAt } from "./spans.ts";

/** Hands each execution out once: by id, else by name with equal arguments, the earliest first. */
export type Claim = (call: ToolCallPart) => ToolCall | undefined;

/** An agent as spans show it: by its name, or by the tool that it thinks in; null for what lies in none. */
type Agent = string | ToolCall | null;

/** Tools in the order of their starts, by what they are asked for and by the agent that ran them. */
type Index = ReadonlyMap<string, ReadonlyMap<Agent, readonly ToolCall[]>>;

/** Makes the claims that the branches of a conversation have on the tool spans in it: on their own agents' and on those that lie in no agent. */
export function createExecutions(calls: readonly Call[], spans: SpanIndex): (branch: Branch) => Claim {
  const agentOf = createAgents(calls, spans);
  const tools = outermost(
    calls.filter((call) => call.kind === "tool"),
    spans,
  ).toSorted(byStart);
  const byId = indexTools(tools, agentOf, ({ toolCallId }) => toolCallId);
  let named: Index | undefined;
  const byName = () => (named ??= indexTools(tools, agentOf, nameKey));
  return (branch) => {
    const agents = new Set<Agent>([null]);
    for (const call of branch.calls) for (const ids of call.recordedBy) agents.add(agentOf(spanAt(spans, ids)));
    const take = createTaking(agents);
    return (call) => (call.id === undefined ? undefined : take(byId, [call.id])) ?? take(byName(), nameKeys(call));
  };
}

/**
 * In which agent a span lies: the innermost around it that asks a model itself. One that asks none has no transcript of its own, so what it runs was asked for by
 * the agent around it.
 */
function createAgents(calls: readonly Call[], spans: SpanIndex): (call: Call | null) => Agent {
  const identityOf = (at: Call | null): Agent => (at?.kind === "tool" ? at : (at?.agentName ?? null));
  const isAgent = (at: Call) => at.kind === "tool" || (at.kind === "structure" && at.agentName !== null);
  const around = createSurroundings(spans, isAgent);
  const thinking = new Set(calls.filter(({ kind }) => kind === "inference").map((call) => identityOf(around(call))));
  const thinkingAround = createSurroundings(spans, (at) => isAgent(at) && thinking.has(identityOf(at)));
  return (call) => (call === null ? null : identityOf(thinkingAround(call)));
}

/** Takes the earliest of what these agents ran and nobody has taken, under any of some keys. */
function createTaking(agents: ReadonlySet<Agent>) {
  const taken = new Set<ToolCall>();
  const queues = new Map<readonly ToolCall[], number>();
  const headOf = (tools: readonly ToolCall[]): ToolCall | undefined => {
    let next = queues.get(tools) ?? 0;
    for (let tool = tools[next]; tool !== undefined && taken.has(tool); tool = tools[next]) next += 1;
    queues.set(tools, next);
    return tools[next];
  };
  return (index: Index, keys: readonly string[]): ToolCall | undefined => {
    const heads = keys.flatMap((key) => listsOf(index.get(key), agents).flatMap((tools) => headOf(tools) ?? []));
    const [first] = heads.length < 2 ? heads : heads.toSorted(byStart);
    if (first !== undefined) taken.add(first);
    return first;
  };
}

/** Walks the smaller of the two: either may be long. */
function listsOf(byAgent: ReadonlyMap<Agent, readonly ToolCall[]> | undefined, agents: ReadonlySet<Agent>): (readonly ToolCall[])[] {
  if (byAgent === undefined) return [];
  if (byAgent.size > agents.size) return [...agents].map((agent) => byAgent.get(agent) ?? []);
  return [...byAgent].filter(([agent]) => agents.has(agent)).map(([, tools]) => tools);
}

function indexTools(tools: readonly ToolCall[], agentOf: (call: ToolCall) => Agent, keyOf: (tool: ToolCall) => string | null): Index {
  const byKey = Map.groupBy(tools, keyOf);
  const index = new Map<string, Map<Agent, ToolCall[]>>();
  for (const [key, own] of byKey) if (key !== null) index.set(key, Map.groupBy(own, agentOf));
  return index;
}

function nameKey({ toolName, toolCallId, arguments: args }: ToolCall): string {
  const asked = args === undefined || args === null ? ANY : argumentsKey(args);
  return [toolCallId === null ? "" : WITH_ID, toolName, asked].join("\n");
}

/** Spans of tools without recorded arguments fit every call by their name; spans with an id of their own fit no call with another one. */
function nameKeys({ id, name, arguments: args }: ToolCallPart): string[] {
  const own = argumentsKey(args);
  return (id === undefined ? ["", WITH_ID] : [""]).flatMap((ids) => [[ids, name, ANY].join("\n"), [ids, name, own].join("\n")]);
}

const WITH_ID = "id";
/** No JSON. */
const ANY = "any";

/** MCP instrumentation repeats the agent's execute_tool span inside it: the outer one is the execution. */
function outermost(tools: readonly ToolCall[], spans: SpanIndex): ToolCall[] {
  return tools.filter((tool) => {
    const parent = parentOf(tool, spans);
    return parent?.kind !== "tool" || parent.toolName !== tool.toolName;
  });
}
