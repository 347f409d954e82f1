import { hash } from "node:crypto";
import { isToolCall, isToolCallResponse, type Message, type ToolCallPart } from "../trace/message.ts";
import { canonicalArguments, canonicalJson, callKeyOf, valueAtPath, writeKeyOf } from "./canonical-arguments.ts";
import { EVERYTHING, entitiesTouched, templatesOf } from "./entities.ts";
import { namesOf, pseudonymsOf, translated, type Names } from "./names.ts";
import type { Tape, TapeEntry } from "./tape.ts";
import { mayWrite, profileOf, type ToolProfile, type ToolProfiles } from "./tool-profile.ts";
import type { Trajectory } from "./trajectory.ts";
import { prefixOf, versionOf, type WriteEvent } from "./write-state.ts";

/** Identity of the tape of one trajectory version. */
export function tapeIdOf(trajectory: { id: string; version: number }): string {
  return `${trajectory.id}@${trajectory.version}`;
}

/** The scenario that a trajectory version becomes. */
export function scenarioIdOf(trajectory: { id: string; version: number }): string {
  return hash("sha256", `scenario|${trajectory.id}|${trajectory.version}`).slice(0, 32);
}

/** The scenario of one model call of a scenario's conversation, counted from 0. */
export function pivotIdOf(scenarioId: string, call: number): string {
  return `${scenarioId}.${call}`;
}

/** The scenario that a scenario's conversation became: itself, or that of the pivot. */
export function wholeScenarioOf(scenarioId: string): string {
  return scenarioId.split(".", 1)[0] ?? scenarioId;
}

/** A tool definition as zod or a dialect gives it. */
export interface ToolShape {
  name: string;
  description?: string | undefined;
  parameters?: Record<string, unknown> | undefined;
}

/** Hash of a toolset's names and argument schemas, in any order; descriptions may change without another answer. */
export function toolsetHashOf(tools: readonly ToolShape[] | null): string {
  return hash("sha256", (tools ?? []).map(schemaHashOf).sort().join("|")).slice(0, 32);
}

/** Hash of one tool's name and argument schema. */
export function schemaHashOf(tool: ToolShape): string {
  return hash("sha256", canonicalJson({ name: tool.name, parameters: tool.parameters ?? null })).slice(0, 32);
}

/** A tool's answer as text: text as it came; anything else as the JSON that a request would carry. */
export function resultText(response: unknown): string {
  return typeof response === "string" ? response : (JSON.stringify(response) ?? "");
}

/** The answer parsed, or the text itself where it is no JSON. */
export function parseResult(result: string): unknown {
  try {
    return JSON.parse(result) as unknown;
  } catch {
    return result;
  }
}

/** Whether a parsed answer says that the call failed: something other than null, false or "" at the tool's error path. */
export function showsError(profile: ToolProfile, result: unknown): boolean {
  const found = valueAtPath(result, profile.errorPath);
  return found !== undefined && found !== null && found !== false && found !== "";
}

/**
 * The tape of a trajectory: its tool calls in order, each with the state it was made in. A call without an answer makes no entry, and if it may
 * have written, the state after it is unknown. People are called by the tenant's pseudonyms (names.ts). `entityEra` is empty until `withEras`.
 */
export function tapeOf(trajectory: Trajectory, options: { profiles: ToolProfiles; split: Tape["split"] }): Tape {
  const context: Context = {
    trajectory,
    profiles: options.profiles,
    templates: templatesOf(options.profiles),
    names: namesOf(trajectory.id, pseudonymsOf(trajectory)),
    tools: new Map((trajectory.tools ?? []).map((tool) => [tool.name, { parameters: tool.parameters, schemaHash: schemaHashOf(tool) }])),
    timings: new Map(trajectory.toolTimings.map((timing) => [timing.callId, timing])),
  };
  const writes: WriteEvent[] = [];
  const entries: TapeEntry[] = [];
  for (const turn of turnsOf(trajectory.messages)) {
    const recorded = turn.calls.map((call, index) => ({ entry: entryOf(context, turn.index, call, index, writes), index }));
    entries.push(...withRaces(recorded.flatMap(({ entry }) => (entry === null ? [] : [entry]))));
  }
  return {
    id: tapeIdOf(trajectory),
    trajectoryId: trajectory.id,
    trajectoryVersion: trajectory.version,
    tenant: trajectory.tenant,
    agent: trajectory.agent,
    split: options.split,
    toolsetHash: toolsetHashOf(trajectory.tools),
    recordedAtMs: trajectory.startedAtMs,
    entries,
  };
}

/** Hash of the calls that one turn makes, in any order. */
export function turnHashOf(callKeys: readonly string[]): string {
  return hash("sha256", [...callKeys].sort().join("|")).slice(0, 32);
}

interface Context {
  trajectory: Trajectory;
  profiles: ToolProfiles;
  templates: readonly string[];
  names: Names;
  tools: ReadonlyMap<string, { parameters: ToolShape["parameters"]; schemaHash: string }>;
  timings: ReadonlyMap<string, Trajectory["toolTimings"][number]>;
}

interface RecordedCall {
  part: ToolCallPart;
  result: string | null;
}

interface Turn {
  index: number;
  calls: readonly RecordedCall[];
}

/** Assistant turns with their calls, each call paired with its answer by id, else by order. */
export function turnsOf(messages: readonly Message[]): readonly Turn[] {
  const turns: Turn[] = [];
  let assistantTurn = -1;
  for (const [position, message] of messages.entries()) {
    if (message.role !== "assistant") continue;
    assistantTurn += 1;
    const calls = message.parts.filter(isToolCall);
    if (calls.length > 0) turns.push({ index: assistantTurn, calls: paired(calls, answersAfter(messages, position)) });
  }
  return turns;
}

interface Answer {
  id: string | undefined;
  result: string;
}

function answersAfter(messages: readonly Message[], position: number): readonly Answer[] {
  const answers: Answer[] = [];
  for (const message of messages.slice(position + 1)) {
    if (message.role === "assistant") break;
    answers.push(...message.parts.filter(isToolCallResponse).map((part) => ({ id: part.id, result: resultText(part.response) })));
  }
  return answers;
}

function paired(calls: readonly ToolCallPart[], answers: readonly Answer[]): readonly RecordedCall[] {
  const ids = new Set(calls.map((call) => call.id));
  const free = answers.filter((answer) => answer.id === undefined || !ids.has(answer.id));
  return calls.map((part) => {
    const byId = part.id === undefined ? undefined : answers.find((answer) => answer.id === part.id);
    return { part, result: (byId ?? free.shift())?.result ?? null };
  });
}

function entryOf(context: Context, turn: number, call: RecordedCall, parallelIndex: number, writes: WriteEvent[]): TapeEntry | null {
  const { trajectory, profiles, names } = context;
  const profile = profileOf(profiles, call.part.name);
  const tool = context.tools.get(call.part.name);
  const args = canonicalArguments(translated(call.part.arguments, names.toTape), tool?.parameters);
  const writeKey = writeKeyOf(profile.tool, args.value, profile.argumentRoles);
  if (call.result === null) {
    if (mayWrite(profile)) writes.push({ writeKey: `unanswered:${writeKey}`, entities: [EVERYTHING] });
    return null;
  }
  const text = names.toTape(call.result);
  const result = parseResult(text);
  const timing = context.timings.get(call.part.id ?? "") ?? context.timings.get(`${turn}:${parallelIndex}`);
  const isError = timing?.isError === true || showsError(profile, result);
  const touched = entitiesTouched(profile, args.value, result, context.templates);
  const entry: TapeEntry = {
    tool: call.part.name,
    callKey: callKeyOf(profile.tool, args.value, profile.argumentRoles),
    argumentsCanonical: args.json,
    argumentsRaw: call.part.arguments ?? null,
    schemaHash: tool?.schemaHash ?? schemaHashOf({ name: call.part.name }),
    result: text,
    isError,
    damaged: isDamaged(text, result),
    // Without a span of its own, a call lies somewhere in its conversation.
    startedAtMs: timing?.startedAtMs ?? trajectory.startedAtMs,
    latencyMs: timing?.latencyMs ?? trajectory.endedAtMs - trajectory.startedAtMs,
    traceId: timing?.traceId ?? trajectory.spans[0]?.traceId ?? "",
    spanId: timing?.spanId ?? trajectory.spans[0]?.spanId ?? "",
    turn,
    parallelIndex,
    entitiesTouched: touched,
    writeKey: mayWrite(profile) && !isError ? writeKey : null,
    writePrefix: prefixOf(writes),
    entityVersion: Object.fromEntries(touched.map((entity) => [entity, versionOf(writes, entity)])),
    entityEra: {},
    raced: null,
  };
  if (entry.writeKey !== null) writes.push({ writeKey: entry.writeKey, entities: touched });
  return entry;
}

/** JSON that breaks off, or a text whose end says that it was cut. */
function isDamaged(text: string, result: unknown): boolean {
  const brokenJson = result === text && /^\s*(?:\{\s*["}]|\[\s*[[{"])/.test(text);
  return brokenJson || /(?:[[(<…]|\.{3})\s*(?:[\w ,]{1,40} )?truncated\b[^\n]{0,40}$/i.test(text.slice(-120));
}

/** Marks the calls of one turn whose order matters and is not known. */
function withRaces(turn: readonly TapeEntry[]): readonly TapeEntry[] {
  if (turn.length < 2 || turn.every((entry) => entry.writeKey === null)) return turn;
  const block = turnHashOf(turn.map((entry) => entry.callKey));
  return turn.map((entry) => (turn.some((other) => other !== entry && conflicts(entry, other)) ? { ...entry, raced: block } : entry));
}

function conflicts(one: TapeEntry, other: TapeEntry): boolean {
  if (one.writeKey === null && other.writeKey === null) return false;
  if (one.entitiesTouched.length === 0 || other.entitiesTouched.length === 0) return false;
  const all = [one, other].some((entry) => entry.entitiesTouched.includes(EVERYTHING));
  return all || one.entitiesTouched.some((entity) => other.entitiesTouched.includes(entity));
}
