import type { Random } from "../../../../deploy/quickstart/random.ts";
import type { TeacherCall, Tone } from "../demonstration.ts";
import { stepAfter, type Request } from "./customers.ts";

/** Probabilities of each mistake; those that depend on the tone are what a night of training can mend. */
export interface Noise {
  /** To answer, or to move the ticket, without a look at it. */
  skipLook: Record<Tone, number>;
  /** To try the last step instead of the next. */
  jump: Record<Tone, number>;
  /** To say that it is moved although the tracker refused. */
  hideRefusal: Record<Tone, number>;
  wrongTicket: number;
}

const never = { plain: 0, terse: 0, pushy: 0 };
export const clean: Noise = { skipLook: never, jump: never, hideRefusal: never, wrongTicket: 0 };
export const noisy: Noise = {
  skipLook: { plain: 0.1, terse: 0.75, pushy: 0.15 },
  jump: { plain: 0.1, terse: 0.1, pushy: 0.7 },
  hideRefusal: { plain: 0.1, terse: 0.3, pushy: 0.7 },
  wrongTicket: 0.02,
};

const GUESSES = ["open", "doing", "review"];

/** Serves one request, rightly or with mistakes. */
export function teach(random: Random, noise: Noise, { kind, tone, ticketId }: Request, call: TeacherCall): string {
  const isBlind = random.chance(noise.skipLook[tone]);
  const asked = random.chance(noise.wrongTicket) ? `T${random.integer(100, 999)}` : ticketId;
  const seen = isBlind ? random.pick(GUESSES) : String(call("get_ticket", { ticket_id: asked })["status"]);
  if (kind === "status") return `Ticket ${ticketId} is in ${seen}.`;
  const next = !isBlind && random.chance(noise.jump[tone]) ? "done" : stepAfter(seen);
  const isRefused = call("set_status", { ticket_id: ticketId, status: next })["error"] !== undefined;
  if (isRefused && !random.chance(noise.hideRefusal[tone])) return `Sorry, ticket ${ticketId} stays in ${seen}.`;
  return `Done, ticket ${ticketId} is in ${next} now.`;
}
