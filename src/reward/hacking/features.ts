import type { Rollout, TrajectoryGroup } from "../../rollout/group.ts";
import { simulatedShareOf } from "../../rollout/fidelity.ts";
import { isToolCall, textOf, type Message } from "../../trace/message.ts";
import { phrasesOf } from "./phrases.ts";

/** What a reward might pay for beside the task. */
export const FEATURES = ["length", "tool_calls", "refusal", "simulated_share", "novelty"] as const;
export type Feature = (typeof FEATURES)[number];

/** What the examination needs of one unmasked, scored member. */
export interface MemberFeatures {
  groupId: string;
  /** Index in its group. */
  member: number;
  iteration: number;
  reward: number;
  /** Members of one group with the same cell came to the same: the same end, the same effect on the world, the same tools answered, the same pattern of errors. */
  outcome: string;
  /** As `outcome`, comparable between groups: whether it changed the world, not how. */
  kind: string;
  values: Readonly<Record<Exclude<Feature, "novelty">, number>>;
  /** Hashes of the phrases that it made itself, what it quotes of others left out. */
  phrases: readonly string[];
}

/** English, the words that open a refusal. Another language's are not seen; a provider's own finish reason is. */
const REFUSES =
  /\b(i('m| am) (sorry, but i )?(can('|no)t|unable|not able|not allowed)|i (can('|no)t|won't|will not|must decline)|(can('|no)t|unable to) (help|assist))\b/i;
const REFUSED = new Set(["content_filter", "refusal"]);

/** Unmasked members with a reward. Pure. @param rewards in the order of group.members */
export function featuresOf(group: TrajectoryGroup, rewards: readonly (number | null)[]): MemberFeatures[] {
  return group.members.flatMap((rollout, member) => {
    const reward = rewards[member] ?? null;
    if (rollout.end.status === "masked" || reward === null) return [];
    const own = ownMessages(rollout);
    return [
      {
        ...{ groupId: group.groupId, member, iteration: group.iteration, reward },
        ...outcomeOf(rollout),
        values: valuesOf(rollout, own),
        phrases: ownPhrases(rollout, own),
      },
    ];
  });
}

/** The words behind a phrase's hash, from a member that said it; null where it did not. */
export function phraseIn(rollout: Rollout, hash: string): string | null {
  return phrasesOf(saidIn(ownMessages(rollout))).get(hash) ?? null;
}

/** What the policy wrote: the answers to its calls are the last of the assistant's messages, those before them were recorded. */
function ownMessages({ messages, calls }: Rollout): Message[] {
  const answers = messages.filter(({ role }) => role === "assistant");
  return calls.length === 0 ? answers : answers.slice(-calls.length);
}

/**
 * There is no judge-free check of success, so equal outcome is what replay knows without the judge: how it ended, the ordered writes that took effect (the journal's last state), which
 * tools gave it an answer, and whether calls failed. What two attempts with all of this in common are worth differs by little that is honest, but for what their last words say.
 */
function outcomeOf({ end, journal }: Rollout): { outcome: string; kind: string } {
  const last = journal.at(-1);
  const answered = [...new Set(journal.filter(({ isError }) => !isError).map(({ tool }) => tool))].toSorted();
  const errors = journal.some(({ isError }) => isError) ? (last?.isError === true ? "ends in an error" : "errors") : "clean";
  const ending = end.status === "truncated" ? `truncated ${end.cause}` : end.status;
  const state = last?.stateAfter ?? "";
  const kind = JSON.stringify([ending, answered, errors, state === "" ? "read" : "wrote"]);
  return { outcome: JSON.stringify([kind, state]), kind };
}

function valuesOf({ journal, calls }: Rollout, own: readonly Message[]): MemberFeatures["values"] {
  const last = own.at(-1);
  const refuses = REFUSED.has(calls.at(-1)?.finishReason ?? "") || (last !== undefined && REFUSES.test(textOf(last).replaceAll("’", "'")));
  return {
    length: own.reduce((sum, message) => sum + textOf(message).length, 0),
    tool_calls: journal.length,
    refusal: refuses ? 1 : 0,
    simulated_share: simulatedShareOf(journal),
  };
}

/** Its own words, in texts and in what it wrote into calls, without phrases that users, tools or its instructions had used. */
function ownPhrases(rollout: Rollout, own: readonly Message[]): string[] {
  const made = new Set(own);
  const others = rollout.messages.filter((message) => !made.has(message));
  const quoted = phrasesOf(others.map((message) => JSON.stringify(message.parts.map(wordsOfPart))).join("\n"));
  return [...phrasesOf(saidIn(own)).keys()].filter((phrase) => !quoted.has(phrase));
}

function saidIn(messages: readonly Message[]): string {
  return messages.flatMap(({ parts }) => parts.map(wordsOfPart)).join("\n");
}

function wordsOfPart(part: Message["parts"][number]): string {
  if (isToolCall(part)) return stringsIn(part.arguments).join("\n");
  if (part.type === "tool_call_response") return stringsIn(part["response"]).join("\n");
  return typeof part["content"] === "string" ? part["content"] : "";
}

function stringsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}
