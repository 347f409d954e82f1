import type { Random } from "../../../../deploy/quickstart/random.ts";
import type { TeacherCall, Tone } from "../demonstration.ts";
import type { Wish } from "./customers.ts";

/** Probabilities of each mistake; those that depend on the tone are what a night of training can mend. */
export interface Noise {
  /** To cancel, or to say so, without a look at the hotel's policy. */
  skipPolicy: Record<Tone, number>;
  /** To cancel although it costs. */
  cancelAnyway: Record<Tone, number>;
  /** To say that the nights are changed without having changed them. */
  claimNights: Record<Tone, number>;
  /** To say so although the desk refused. */
  hideRefusal: Record<Tone, number>;
  wrongBooking: number;
}

const never = { plain: 0, terse: 0, pushy: 0 };
export const clean: Noise = { skipPolicy: never, cancelAnyway: never, claimNights: never, hideRefusal: never, wrongBooking: 0 };
export const noisy: Noise = {
  skipPolicy: { plain: 0.1, terse: 0.68, pushy: 0.25 },
  cancelAnyway: { plain: 0.05, terse: 0.1, pushy: 0.6 },
  claimNights: { plain: 0.08, terse: 0.58, pushy: 0.1 },
  hideRefusal: { plain: 0.05, terse: 0.1, pushy: 0.6 },
  wrongBooking: 0.02,
};

/** Serves one wish, rightly or with mistakes. */
export function teach(random: Random, noise: Noise, wish: Wish, call: TeacherCall): string {
  return wish.kind === "cancel" ? cancel(random, noise, wish, call) : changeNights(random, noise, wish, call);
}

function cancel(random: Random, noise: Noise, { tone, bookingId, hotelId }: Wish, call: TeacherCall): string {
  if (random.chance(noise.skipPolicy[tone])) {
    const guess = random.next();
    if (guess < 0.5) return sayCancelled(bookingId);
    return guess < 0.85 ? carryOut(bookingId, call) : sayCosts(bookingId);
  }
  const isFree = call("cancellation_policy", { hotel_id: hotelId })["free"] === true;
  if (!isFree && !random.chance(noise.cancelAnyway[tone])) return sayCosts(bookingId);
  return carryOut(mistaken(random, noise, bookingId), call);
}

function changeNights(random: Random, noise: Noise, { tone, bookingId, nights }: Wish, call: TeacherCall): string {
  if (random.chance(noise.claimNights[tone])) return sayChanged(bookingId, nights);
  const changed = call("update_booking", { booking_id: mistaken(random, noise, bookingId), nights });
  if (changed["error"] === undefined || random.chance(noise.hideRefusal[tone])) return sayChanged(bookingId, nights);
  return `Sorry, booking ${bookingId} cannot be changed: the stay has begun.`;
}

function carryOut(bookingId: string, call: TeacherCall): string {
  return call("cancel_booking", { booking_id: bookingId })["cancelled"] === true
    ? sayCancelled(bookingId)
    : `Sorry, I could not cancel ${bookingId}.`;
}

function mistaken(random: Random, noise: Noise, bookingId: string): string {
  return random.chance(noise.wrongBooking) ? `B${random.integer(1, 600)}` : bookingId;
}

const sayCancelled = (bookingId: string): string => `Done, booking ${bookingId} is cancelled.`;
const sayCosts = (bookingId: string): string => `Booking ${bookingId} stays: to cancel it would cost 40.`;
const sayChanged = (bookingId: string, nights: number): string => `Done, booking ${bookingId} is for ${nights} nights now.`;
