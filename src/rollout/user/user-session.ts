import { textOf } from "../../trace/message.ts";
import type { Scenario } from "../../scenario/scenario.ts";
import type { ChatMessage } from "../../serving/policy-server.ts";
import { toChatMessages } from "../chat-messages.ts";
import type { OffTape } from "../off-tape.ts";
import { asksTheSame } from "./same-question.ts";

export type NextUserTurn =
  | { status: "says"; messages: readonly ChatMessage[]; simulated: { model: string; promptHash: string } | null }
  /** The recorded user had nothing more to say. */
  | { status: "over" }
  /** The agent said something that this user never answered, and nobody may answer for them. */
  | { status: "cut" }
  /** The simulated user's server is at fault. */
  | { status: "unavailable" };

/** The user of one rollout. */
export interface UserSession {
  /** What the user says to the agent's message; turns come one after another. Rejects only when `signal` aborts. */
  next(said: string, options: { sources: readonly string[]; signal?: AbortSignal }): Promise<NextUserTurn>;
}

export interface UserSessionOptions {
  scenario: Scenario;
  runId: string;
  runSeed: number;
  iteration: number;
  offTape?: OffTape | undefined;
}

/** Turns that a model may say in one rollout: users that a model plays are more helpful than people, and a long talk with one would pass for success. */
const MAX_SIMULATED = 2;

/**
 * The recorded user: each turn is said once the agent asks for what it answered, turns that the agent had no need to ask for are left out. Asked for something
 * else, a simulated user answers where there is one; else the rollout ends there. Scenarios from before the recorded questions were kept are said in order.
 */
export function createUserSession({ scenario, runId, runSeed, iteration, offTape }: UserSessionOptions): UserSession {
  const { userTurns } = scenario.start;
  const asked = scenario.userModel?.asked;
  const facts = [...scenario.start.messages.filter(({ role }) => role === "user"), ...userTurns].map(textOf);
  let place = 0;
  let simulated = 0;
  return {
    async next(said, { sources, signal }) {
      const at = asked === undefined ? place : userTurns.findIndex((_, index) => index >= place && asksTheSame(asked[index] ?? "", said));
      const turn = userTurns[at];
      if (turn !== undefined) {
        place = at + 1;
        return { status: "says", messages: toChatMessages([turn]), simulated: null };
      }
      if (place >= userTurns.length) return { status: "over" };
      const user = offTape?.user ?? null;
      if (offTape === undefined || user === null || simulated === MAX_SIMULATED) return { status: "cut" };
      simulated += 1;
      const question = { scenarioId: scenario.id, facts, said, seed: [runSeed, iteration], runId, sources };
      const reply = await user.reply(question, signal === undefined ? {} : { signal });
      offTape.count("user", reply.status);
      if (reply.status !== "answered") return { status: reply.status === "none" ? "cut" : "unavailable" };
      const { text, model, promptHash } = reply;
      return { status: "says", messages: [{ role: "user", content: text }], simulated: { model, promptHash } };
    },
  };
}
