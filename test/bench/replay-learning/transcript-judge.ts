import { asToolUses, type JudgedMember, type ToolUse } from "../../../deploy/quickstart/evidence.ts";
import { textOf } from "../../../src/trace/message.ts";

/** One member as a judge of these worlds reads it. */
export interface Attempt {
  uses: readonly ToolUse[];
  /** Empty where it came to no end of its own. */
  reply: string;
}

export interface Assessment {
  /** Whether the customer got what is right; null where no member's results show what that is. */
  reached: boolean | null;
  /** Its own calls show it. */
  hasEvidence: boolean;
  /** Something was changed that should not have been. */
  didHarm: boolean;
  /** Calls beyond those that are needed, and refused ones. */
  wasted: number;
}

/** How one world reads a group: from the customer's message and what all members saw, what to make of each. */
export type Reading = (message: string, attempts: readonly Attempt[]) => (attempt: Attempt) => Assessment;

export interface TranscriptJudge {
  scoreGroup: (members: readonly JudgedMember[]) => (number | null)[];
  comparePair: (first: JudgedMember, second: JudgedMember) => 0 | 0.5 | 1;
}

/** The scripted judge of a world: like the quickstart's, it never sees the system's state, and reaching the goal stands far above everything else. */
export function judgeOf(reading: Reading): TranscriptJudge {
  const assess = (members: readonly JudgedMember[]): ((member: JudgedMember) => Assessment) => {
    const shown = members.filter(({ end }) => end.status !== "masked");
    const asked = shown[0]?.messages.find(({ role }) => role === "user");
    const read = reading(asked === undefined ? "" : textOf(asked), shown.map(attemptOf));
    return (member) => read(attemptOf(member));
  };
  return {
    scoreGroup(members) {
      const read = assess(members);
      return members.map((member) => (member.end.status === "masked" ? null : scoreOf(read(member))));
    },
    comparePair(first, second) {
      const read = assess([first, second]);
      const [one, other] = [read(first).reached === true, read(second).reached === true];
      return one === other ? 0.5 : one ? 1 : 0;
    },
  };
}

function attemptOf({ messages, end }: JudgedMember): Attempt {
  const last = messages.at(-1);
  return { uses: asToolUses(messages), reply: end.status === "completed" && last?.role === "assistant" ? textOf(last) : "" };
}

function scoreOf({ reached, hasEvidence, didHarm, wasted }: Assessment): number {
  const effort = 0.02 * Math.min(5, wasted);
  const score = reached === true ? (hasEvidence ? 1 - effort : 0.75) : 0.1 + (hasEvidence ? 0.1 : 0) - (didHarm ? 0.1 : 0) - effort / 2;
  return Math.round(100 * Math.max(0, score)) / 100;
}
