import type { JournalEntry, Rollout, TrajectoryGroup } from "../../../src/rollout/group.ts";
import { createRandom } from "../../../deploy/quickstart/random.ts";
import { group, rollout, text } from "../groups.ts";

/** One attempt as a test wants it: what it says, what it did, what it got. */
export interface Made {
  says: string;
  reward: number;
  tools?: readonly { tool: string; isError?: boolean; rung?: JournalEntry["rung"] }[];
  /** What the world came to: another state is another outcome. */
  state?: string;
  end?: Rollout["end"];
}

function journal(tools: NonNullable<Made["tools"]>, state: string): JournalEntry[] {
  return tools.map(({ tool, isError = false, rung = "R1" }, step) => ({
    ...{ step, tool, callKey: tool, rung, confidence: 1, stateBefore: "", stateAfter: state, isError },
  }));
}

export function madeGroup(id: string, iteration: number, members: readonly Made[]): { group: TrajectoryGroup; rewards: number[] } {
  const rollouts = members.map(({ says, tools = [], state = "", end }) =>
    rollout([text("system", "You help in a shop."), text("user", `my order ${id}`), text("assistant", says)], {
      journal: journal(tools, state),
      ...(end === undefined ? {} : { end }),
    }),
  );
  return { group: { ...group(id, rollouts), iteration }, rewards: members.map(({ reward }) => reward) };
}

const OPENINGS = ["your parcel", "the order", "this delivery", "that item", "the package"];
const VERBS = ["arrives", "was sent", "is packed", "left us", "waits"];
const DAYS = ["today", "on monday", "tomorrow", "this week", "soon"];

/** Sentences that differ from one another, as many as asked for. */
export function chatter(seed: string, sentences: number): string {
  const random = createRandom("chatter", seed);
  return Array.from(
    { length: sentences },
    () => `${random.pick(OPENINGS)} ${random.integer(1, 999)} ${random.pick(VERBS)} ${random.pick(DAYS)}.`,
  ).join(" ");
}
