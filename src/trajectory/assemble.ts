import { createHash } from "node:crypto";
import type { Call, Damage, ToolCall } from "../trace/call.ts";
import type { Message } from "../trace/message.ts";
import { type Branch, branchesOf } from "./assembly/branches.ts";
import { createExecutions } from "./assembly/executions.ts";
import { createVerbs } from "./assembly/verbs.ts";
import { authorOf, createItemReader } from "./assembly/items.ts";
import { type MergedCall, mergeCalls } from "./assembly/merge.ts";
import { type Pairing, pairToolCalls } from "./assembly/pairing.ts";
import { createRenumbering } from "./assembly/pseudonyms.ts";
import { linkSegments } from "./assembly/segments.ts";
import { byStart, indexSpans } from "./assembly/spans.ts";
import { type Agents, matchAgent, UNKNOWN_AGENT } from "./match-agent.ts";
import type { Trajectory } from "./trajectory.ts";

/** A trajectory before it is judged, with what the verdict needs to know. */
export interface Draft {
  trajectory: Omit<Trajectory, "version" | "contentHash" | "verdict">;
  evidence: {
    /** False when any span of the conversation said no, null when none said anything. */
    consent: boolean | null;
    damage: readonly Damage[];
    pairingGuessed: boolean;
    unanswered: readonly string[];
    compactedUnlinked: boolean;
    /** Another answer to the same request took its place. */
    abandoned: boolean;
    /** Absent tools or system message are known to be absent. */
    fromGateway: boolean;
  };
}

export interface ConversationIdentity {
  id: string;
  key: string;
  tenant: string;
  /** Matched when its spans arrived; stands where a trajectory's own spans match no agent. */
  agent: string;
}

/**
 * Rebuilds the trajectories of one conversation from its calls: the longest transcript, and every branch (retry, fork, sub-agent, segment after compaction) as a
 * trajectory of its own with its parent. Pure; order and duplicates of `calls` do not matter.
 */
export function assemble(conversation: ConversationIdentity, calls: readonly Call[], agents: Agents): Draft[] {
  const spans = indexSpans(calls);
  const unique = [...spans.values()].toSorted(byStart);
  const read = createItemReader();
  const branches = branchesOf(mergeCalls(unique, spans, read), read).toSorted((a, b) => byStart(a.calls[0], b.calls[0]));
  const claimOf = createExecutions(unique, spans);
  const verbsOf = createVerbs(unique, spans);
  const pairings = new Map(branches.map((branch) => [branch, pairToolCalls(transcriptOf(branch), claimOf(branch), verbsOf)]));
  const callers = callersOf(pairings);
  const links = linkSegments(branches);
  const ids = new Map(branches.map((branch) => [branch, idOf(conversation.id, branch)]));
  const renumber = createRenumbering();
  const whole = { subject: firstOf(unique, (call) => call.subject), consent: consentOf(unique) };
  return branches.map((branch): Draft => {
    const pairing = pairings.get(branch) as Pairing;
    const parent = branch.main ?? callerOf(branch, callers) ?? links.get(branch)?.parent ?? null;
    const fields = { ...timesOf(branch), ...servingOf(branch), ...recordingOf(branch, pairing.executions) };
    const transcript = renumber(transcriptOf(branch));
    return {
      trajectory: {
        id: ids.get(branch) ?? "",
        conversationId: conversation.id,
        conversationKey: conversation.key,
        tenant: conversation.tenant,
        agent: agentOf(branch, conversation, agents),
        parentId: parent === null ? null : (ids.get(parent) ?? null),
        subject: firstOf(branch.calls, (call) => call.subject) ?? whole.subject,
        ...fields,
        messages: transcript.value,
        pseudonyms: transcript.pseudonyms,
        tools: branch.calls.findLast((call) => call.tools !== null)?.tools?.slice() ?? null,
        toolTimings: pairing.timings,
      },
      evidence: {
        consent: whole.consent,
        damage: [...new Set([...branch.calls, ...pairing.executions].flatMap((call) => call.damage))].toSorted(),
        pairingGuessed: pairing.guessed,
        unanswered: pairing.unanswered,
        compactedUnlinked: links.get(branch)?.unlinked === true,
        abandoned: branch.kind === "retry",
        fromGateway: branch.leaf.fromGateway,
      },
    };
  });
}

/** The system message first, then input and output as the last call of the branch saw and wrote them. */
function transcriptOf(branch: Branch): Message[] {
  const messages = [...historyOf(branch), ...branch.leaf.output];
  const isSystem = (message: Message) => authorOf(message.role) === "system";
  return [...messages.filter(isSystem), ...messages.filter((message) => !isSystem(message))];
}

/**
 * What the last call read. Old OpenLLMetry leaves the tool calls out of an assistant's turn there, and the turn is empty: the call that wrote it has them. A turn
 * that no call or several may have written stays empty, which the verdict names.
 */
function historyOf({ leaf, calls }: Branch): readonly Message[] {
  const isEmptied = (turn: Message) => turn.parts.length === 0 && authorOf(turn.role) === "assistant";
  if (!leaf.input.some(isEmptied)) return leaf.input;
  const writers = Map.groupBy(
    calls.filter(({ output }) => output.length === 1),
    ({ input }) => input.length,
  );
  return leaf.input.map((turn, position) => {
    const [writer, ...others] = isEmptied(turn) ? (writers.get(position) ?? []) : [];
    return (others.length === 0 ? writer?.output[0] : undefined) ?? turn;
  });
}

function idOf(conversationId: string, branch: Branch): string {
  return createHash("sha256").update(`${conversationId}\n${branch.rootKey}`).digest("hex").slice(0, 32);
}

/** Whose transcripts hold the call that a tool's execution answered: branches share what came before they parted. */
function callersOf(pairings: ReadonlyMap<Branch, Pairing>): ReadonlyMap<ToolCall, readonly Branch[]> {
  const callers = new Map<ToolCall, Branch[]>();
  for (const [branch, { executions }] of pairings) {
    for (const tool of executions) {
      const known = callers.get(tool);
      if (known === undefined) callers.set(tool, [branch]);
      else known.push(branch);
    }
  }
  return callers;
}

/** A sub-agent's parent is the trajectory that made the tool call which it ran in. */
function callerOf(branch: Branch, callers: ReadonlyMap<ToolCall, readonly Branch[]>): Branch | null {
  const tool = branch.calls[0]?.insideTool;
  return (tool && callers.get(tool)?.find((caller) => caller !== branch)) ?? null;
}

function agentOf(branch: Branch, conversation: ConversationIdentity, agents: Agents): string {
  for (const call of branch.calls) {
    const slug = matchAgent(agents, conversation.tenant, call);
    if (slug !== UNKNOWN_AGENT) return slug;
  }
  return conversation.agent;
}

function timesOf(branch: Branch): { startedAtMs: number; endedAtMs: number } {
  const end = branch.calls.reduce((latest, call) => (call.endNs > latest ? call.endNs : latest), 0n);
  return { startedAtMs: Number((branch.calls[0]?.startNs ?? 0n) / 1_000_000n), endedAtMs: Number(end / 1_000_000n) };
}

function servingOf(branch: Branch) {
  const { leaf, calls } = branch;
  const { temperature, topP, maxTokens } = leaf.sampling;
  return {
    model: leaf.requestModel ?? leaf.responseModel,
    adapterDigest: calls.findLast((call) => call.adapterDigest !== null)?.adapterDigest ?? null,
    assignment: firstOf(calls, (call) => call.assignment),
    sampling: {
      ...(temperature === undefined ? {} : { temperature }),
      ...(topP === undefined ? {} : { topP }),
      ...(maxTokens === undefined ? {} : { maxTokens }),
    },
    finishReason: leaf.finishReasons[0] ?? null,
  };
}

function recordingOf(branch: Branch, executions: readonly ToolCall[]) {
  const { calls } = branch;
  return {
    usage: {
      inputTokens: sum(calls, (call) => call.usage.inputTokens),
      outputTokens: sum(calls, (call) => call.usage.outputTokens),
      calls: calls.length,
    },
    dialects: [...new Set(calls.flatMap((call) => call.dialects))].toSorted(),
    spans: [...calls.flatMap((call) => call.recordedBy), ...executions.map(({ traceId, spanId }) => ({ traceId, spanId }))],
    responseIds: [...new Set(calls.flatMap((call) => call.responseId ?? []))],
  };
}

function sum(calls: readonly MergedCall[], pick: (call: MergedCall) => number | undefined): number {
  return calls.reduce((total, call) => total + (pick(call) ?? 0), 0);
}

function consentOf(calls: readonly Call[]): boolean | null {
  if (calls.some((call) => call.consent === false)) return false;
  return calls.some((call) => call.consent === true) ? true : null;
}

function firstOf<C, T>(calls: readonly C[], pick: (call: C) => T | null): T | null {
  return calls.map(pick).find((value) => value !== null) ?? null;
}
