import { hash } from "node:crypto";
import type { ArtifactStore, Digest } from "../../artifact/artifact-store.ts";
import { nightshiftError } from "../../errors.ts";
import { fromChatMessage } from "../../rollout/chat-messages.ts";
import { decodeGroup } from "../../rollout/encode-group.ts";
import { sourcesOfGroup } from "../../rollout/sources.ts";
import type { Database } from "../../store/database.ts";
import type { ToolDefinition } from "../../trace/message.ts";
import { tapeIdOf } from "../../trajectory/record-tape.ts";
import { loadTrajectory } from "../../trajectory/trajectory-store.ts";
import { distinctMembers, type JudgedMember } from "../attempts-text.ts";
import type { HumanLabel } from "./calibrate.ts";
import type { LabelLine, LabelTranscript } from "./labels.ts";

interface Found {
  member: JudgedMember;
  tools: readonly ToolDefinition[];
  sources: readonly string[];
}

/**
 * Labels with their attempts read from the store, where they name stored ones of this agent.
 * @throws NightshiftError `labels_invalid` for an attempt that is not stored, was masked, or is the same as another of its label
 */
export async function resolveLabels(
  lines: readonly LabelLine[],
  of: { tenant: string; agent: string },
  deps: { database: Database; artifacts: ArtifactStore },
): Promise<HumanLabel[]> {
  const labels: HumanLabel[] = [];
  for (const { line, label } of lines) {
    const isPair = label.kind === "pair";
    const transcripts = isPair ? [label.a, label.b] : label.attempts.map(({ transcript }) => transcript);
    const fieldOf = (index: number) => (isPair ? ["a", "b"][index] : `attempts.${index}.transcript`) ?? "";
    const found: Found[] = [];
    for (const [index, transcript] of transcripts.entries()) {
      const one = await find(transcript, of, deps);
      if (typeof one === "string") throw invalid(line, fieldOf(index), one, transcript);
      found.push(one);
    }
    const members = found.map(({ member }) => member);
    const same = distinctMembers(members).find(({ length }) => length > 1);
    if (same !== undefined)
      throw invalid(line, fieldOf(same[1] ?? 0), "the same attempt as another of this label", transcripts[same[1] ?? 0]);
    labels.push({
      kind: label.kind,
      id: hash("sha256", JSON.stringify(members)).slice(0, 32),
      members,
      tools: label.tools?.map(definitionOf) ?? found.find(({ tools }) => tools.length > 0)?.tools ?? [],
      sources: [...new Set(found.flatMap(({ sources }) => sources))].toSorted(),
      human: isPair ? { a: [1, 0], b: [0, 1], tie: [0, 0] }[label.preferred] : label.attempts.map(({ score }) => score),
    });
  }
  return labels;
}

/** The attempt, or why there is none. */
async function find(
  transcript: LabelTranscript,
  { tenant, agent }: { tenant: string; agent: string },
  { database, artifacts }: { database: Database; artifacts: ArtifactStore },
): Promise<Found | string> {
  switch (transcript.from) {
    case "messages":
      return {
        member: { messages: transcript.messages.map(withoutGaps).map(fromChatMessage), end: { status: "completed" } },
        tools: [],
        sources: [],
      };
    case "trajectory": {
      const found = await loadTrajectory(database.kysely, transcript.id);
      if (found === null || found.tenant !== tenant || found.agent !== agent)
        return `no trajectory of agent ${agent} is stored under this id`;
      const sources = [found.id, tapeIdOf(found)];
      return { member: { messages: found.messages, end: { status: "completed" } }, tools: (found.tools ?? []).map(definitionOf), sources };
    }
    case "rollout": {
      const row = await database.kysely
        .selectFrom("groups")
        .innerJoin("runs", "runs.id", "groups.run_id")
        .select("groups.body_digest")
        .where("groups.id", "=", transcript.group)
        .where("runs.tenant", "=", tenant)
        .where("runs.agent", "=", agent)
        .executeTakeFirst();
      const body = row === undefined ? null : await artifacts.get(row.body_digest as Digest);
      if (body === null) return `no group of agent ${agent} is stored under this id`;
      const group = decodeGroup(body);
      const member = group.members[transcript.member];
      if (member === undefined) return `the group has ${group.members.length} members, counted from 0`;
      if (member.end.status === "masked") return "this member was masked: no judge is shown it";
      return { member: { messages: member.messages, end: member.end }, tools: group.tools, sources: sourcesOfGroup(group) };
    }
    default:
      return transcript satisfies never;
  }
}

type ChatInLabel = Extract<LabelTranscript, { from: "messages" }>["messages"][number];

/** Optional fields that are absent, not undefined. */
function withoutGaps({ role, content, tool_calls, tool_call_id }: ChatInLabel) {
  return { role, content, ...(tool_calls === undefined ? {} : { tool_calls }), ...(tool_call_id === undefined ? {} : { tool_call_id }) };
}

type ToolLike = { name: string; description?: string | undefined; parameters?: Record<string, unknown> | undefined };

function definitionOf({ name, description, parameters }: ToolLike): ToolDefinition {
  return { name, ...(description === undefined ? {} : { description }), ...(parameters === undefined ? {} : { parameters }) };
}

function invalid(line: number, field: string, problem: string, received: unknown): Error {
  return nightshiftError("labels_invalid", {
    file: "labels",
    line,
    field,
    problem,
    received: JSON.stringify(received)?.slice(0, 80) ?? "nothing",
  });
}
