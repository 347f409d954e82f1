import { hash } from "node:crypto";
import { isToolCall, isToolCallResponse, textOf, type Message, type ToolCallPart } from "../trace/message.ts";
import { canonicalArguments, canonicalJson, keysOf, valueAtPath, type CanonicalArguments } from "./canonical-arguments.ts";
import { EVERYTHING, entitiesTouched, templatesOf } from "./entities.ts";
import { namesOf, pseudonymsOf, translated } from "./names.ts";
import type { Tape, TapeEntry } from "./tape.ts";
import { mayWrite, profileOf, writeRolesOf, type ToolProfile, type ToolProfiles } from "./tool-profile.ts";
import type { Trajectory } from "./trajectory.ts";
import { createWriteLog, type WriteLog } from "./write-state.ts";

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
export function toolsetHashOf(tools: readonly ToolShape[] | null, hashOf: (tool: ToolShape) => string = schemaHashOf): string {
  return hash(
    "sha256",
    (tools ?? [])
      .map((tool) => hashOf(tool))
      .sort()
      .join("|"),
  ).slice(0, 32);
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

/**
 * Whether a parsed answer says that the call failed: something other than null, false or "" at the tool's error path, or MCP's own result of a failed
 * call (`isError: true` beside its content).
 */
export function showsError(profile: ToolProfile, result: unknown): boolean {
  const found = valueAtPath(result, profile.errorPath);
  if (found !== undefined && found !== null && found !== false && found !== "") return true;
  return valueAtPath(result, "isError") === true && Array.isArray(valueAtPath(result, "content"));
}

/** A trajectory's calls as far as no profile changes them. */
export interface ReadCalls {
  toolsetHash: string;
  /** What its system and user messages say. */
  told: string;
  turns: readonly { index: number; calls: readonly ReadCall[] }[];
}

interface ReadCall {
  part: ToolCallPart;
  args: CanonicalArguments;
  schemaHash: string;
  /** The answer as text and parsed; null where the call got none. */
  answer: { result: string; parsed: unknown } | null;
  timing: Trajectory["toolTimings"][number] | undefined;
  parallelIndex: number;
}

/** Reads trajectories for `tapeOf`, which then need not do it again for other profiles. Definitions that come again are hashed once. */
export function createCallReader(): (trajectory: Trajectory) => ReadCalls {
  const hashes = new Map<string, string>();
  const hashOf = (tool: ToolShape): string => {
    const key = JSON.stringify([tool.name, tool.parameters]);
    const known = hashes.get(key) ?? schemaHashOf(tool);
    hashes.set(key, known);
    return known;
  };
  return (trajectory) => {
    const tools = new Map((trajectory.tools ?? []).map((tool) => [tool.name, { parameters: tool.parameters, schemaHash: hashOf(tool) }]));
    const timings = new Map(trajectory.toolTimings.map((timing) => [timing.callId, timing]));
    const names = namesOf(trajectory.id, pseudonymsOf(trajectory));
    const turns = turnsOf(trajectory.messages).map(({ index: turn, calls }) => ({
      index: turn,
      calls: calls.map(({ part, result }, parallelIndex): ReadCall => {
        const tool = tools.get(part.name);
        return {
          ...{ part, parallelIndex },
          args: canonicalArguments(translated(part.arguments, names.toTape), tool?.parameters),
          schemaHash: tool?.schemaHash ?? hashOf({ name: part.name }),
          answer: result === null ? null : answerOf(names.toTape(result)),
          timing: timings.get(part.id ?? "") ?? timings.get(`${turn}:${parallelIndex}`),
        };
      }),
    }));
    const texts = trajectory.messages.filter(({ role }) => role !== "assistant" && role !== "tool").map(textOf);
    return { toolsetHash: toolsetHashOf(trajectory.tools, hashOf), turns, told: names.toTape(texts.join("\n").slice(-MAX_HEARD)) };
  };
}

function answerOf(result: string): { result: string; parsed: unknown } {
  return { result, parsed: parseResult(result) };
}

/**
 * The tape of a trajectory: its tool calls in order, each with the state it was made in. A call without an answer makes no entry, and if it may
 * have written, the state after it is unknown. People are called by the tenant's pseudonyms
 * (names.ts). `entityEra` is empty until `withEras`. `read`: what `createCallReader` made of the trajectory.
 */
export function tapeOf(trajectory: Trajectory, options: { profiles: ToolProfiles; split: Tape["split"]; read?: ReadCalls }): Tape {
  const context: Context = { trajectory, profiles: options.profiles, templates: templatesOf(options.profiles) };
  const { toolsetHash, turns, told } = options.read ?? createCallReader()(trajectory);
  let heard = told;
  const writes = createWriteLog();
  const entries: TapeEntry[] = [];
  for (const turn of turns) {
    const before = heard;
    entries.push(...withRaces(turn.calls.flatMap((call) => entryOf({ ...context, heard: before }, turn.index, call, writes) ?? [])));
    heard = [before, ...turn.calls.map(({ answer }) => answer?.result ?? "")].join("\n").slice(-MAX_HEARD);
  }
  return {
    id: tapeIdOf(trajectory),
    conversationId: trajectory.conversationId,
    trajectoryId: trajectory.id,
    trajectoryVersion: trajectory.version,
    tenant: trajectory.tenant,
    agent: trajectory.agent,
    split: options.split,
    toolsetHash,
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
  /** What the agent was told and answered by now. */
  heard?: string;
}

/** Characters of a conversation in which values are looked for: its end, where it is longer. */
const MAX_HEARD = 200_000;

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

function entryOf(context: Context, turn: number, call: ReadCall, writes: WriteLog): TapeEntry | null {
  const { trajectory } = context;
  const { args, answer, timing, parallelIndex } = call;
  const profile = profileOf(context.profiles, call.part.name);
  const { callKey, writeKey } = keysOf(profile.tool, args, profile.argumentRoles, writeRolesOf(profile));
  if (answer === null) {
    if (mayWrite(profile)) writes.add({ writeKey: `unanswered:${writeKey}`, entities: [EVERYTHING] });
    return null;
  }
  const isError = timing?.isError === true || showsError(profile, answer.parsed);
  const touched = entitiesTouched(profile, args.value, answer.parsed, context.templates);
  const entry: TapeEntry = {
    tool: call.part.name,
    callKey,
    argumentsCanonical: args.json,
    argumentsRaw: call.part.arguments ?? null,
    schemaHash: call.schemaHash,
    result: answer.result,
    isError,
    damaged: isDamaged(answer.result, answer.parsed),
    // Without a span of its own, a call lies somewhere in its conversation.
    startedAtMs: timing?.startedAtMs ?? trajectory.startedAtMs,
    latencyMs: timing?.latencyMs ?? trajectory.endedAtMs - trajectory.startedAtMs,
    traceId: timing?.traceId ?? trajectory.spans[0]?.traceId ?? "",
    spanId: timing?.spanId ?? trajectory.spans[0]?.spanId ?? "",
    turn,
    parallelIndex,
    entitiesTouched: touched,
    unheard: unheardKeys(profile, args.value, context.heard ?? ""),
    writeKey: mayWrite(profile) && !isError ? writeKey : null,
    writePrefix: writes.prefix(),
    entityVersion: Object.fromEntries(touched.map((entity) => [entity, writes.versionOf(entity)])),
    entityEra: {},
    raced: null,
  };
  if (entry.writeKey !== null) writes.add({ writeKey: entry.writeKey, entities: touched });
  return entry;
}

function unheardKeys({ argumentRoles }: ToolProfile, args: unknown, heard: string): readonly string[] {
  return Object.entries(argumentRoles).flatMap(([path, role]) => {
    const value = role === "key" ? valueAtPath(args, path) : undefined;
    const isValue = (typeof value === "string" && value !== "") || typeof value === "number";
    return isValue && !heard.includes(String(value)) ? [path] : [];
  });
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
