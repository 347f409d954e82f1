import { createRandom, type Random } from "../../../../deploy/quickstart/random.ts";
import type { DeskSize } from "../../../worlds/bookings-desk.ts";
import { openBookings } from "../../../worlds/bookings-world.ts";
import { freeCancellation } from "../../../worlds/tasks.ts";
import { parsed, type World } from "../../../worlds/world.ts";
import { drawTone, type Tone } from "../demonstration.ts";
import type { System, Thread, Visit } from "../learning-world.ts";
import { systemOf, worldOf } from "../worlds-system.ts";

/** What a guest comes for: to cancel unless it costs something, or to stay for another number of nights. */
export interface Wish {
  kind: "cancel" | "nights";
  tone: Tone;
  bookingId: string;
  hotelId: string;
  nights: number;
  message: string;
}

/** A guest at the desk. */
export interface Guest {
  user: string;
  wish: Wish;
}

/** Who is measured and who is recorded share neither hotels nor guests. Four guests or so come to a hotel, so that one's policy is mostly on some tape. */
const day: DeskSize = { roomsEach: 10, hotels: { first: 100, count: 75 }, guests: { first: 0, count: 400 } };
const fresh: DeskSize = { roomsEach: 10, hotels: { first: 300, count: 88 }, guests: { first: 400, count: 500 } };

const ATTEMPTS = 3;

/** The guests of a desk, by hotel, and the desk before any of them comes. Some have checked in, and nobody may change those stays. */
export function openCrowd(seed: number, size: DeskSize): { desk: World; hotels: readonly (readonly Guest[])[] } {
  const desk = openBookings(seed, size);
  const random = createRandom("learning-bookings", seed, size.hotels.first);
  const hotels = new Map<string, Guest[]>();
  for (let number = 1; ; number += 1) {
    const booking = parsed(desk.clone().call("get_booking", { booking_id: `B${number}` }));
    if (booking["error"] !== undefined) break;
    const [bookingId, user] = [String(booking["booking_id"]), String(booking["email"])];
    const hotelId = `H${Math.floor((Number(String(booking["room_id"]).slice(1)) - 100) / 10)}`;
    const kind = random.chance(0.6) ? "cancel" : "nights";
    if (kind === "nights" && random.chance(0.4)) desk.call("check_in", { booking_id: bookingId });
    const stays = Number(booking["nights"]);
    const nights = random.pick([1, 2, 3, 4, 5, 6, 7, 8, 9].filter((other) => other !== stays));
    const wish = speak(random, { kind, bookingId, hotelId, nights });
    hotels.set(hotelId, [...(hotels.get(hotelId) ?? []), { user, wish }]);
  }
  return { desk, hotels: [...hotels.values()] };
}

/** A day's threads: a hotel's guests come one after another. */
export function dayOf(seed: number): Thread[] {
  const { desk, hotels } = openCrowd(seed, day);
  return hotels.map((guests) => ({ system: systemOf(desk.clone()), visits: guests.map((guest) => visitOf(guest, 1)) }));
}

/** @throws RangeError when there are fewer guests than asked for */
export function freshOf(seed: number, customers: number): Thread[] {
  const { desk, hotels } = openCrowd(seed, fresh);
  const guests = hotels.flat().slice(0, customers);
  if (guests.length < customers) throw new RangeError(`the desk has ${guests.length} guests`);
  return guests.map((guest) => ({ system: systemOf(desk), visits: [visitOf(guest, 1)] }));
}

export function visitOf({ user, wish }: Guest, attempt: number): Visit {
  return {
    id: `${wish.bookingId}-${wish.kind}-${attempt}`,
    user,
    message: wish.message,
    finish(before, after, reply) {
      const success = isGranted(wish, before, after, reply);
      const canAskAgain = parsed(worldOf(after).clone().call("get_booking", { booking_id: wish.bookingId }))["error"] === undefined;
      if (success || !canAskAgain || attempt >= ATTEMPTS) return { success, next: null };
      const random = createRandom("again", wish.bookingId, attempt, user);
      return { success, next: visitOf({ user, wish: speak(random, wish) }, attempt + 1) };
    },
  };
}

/** Whether the desk is as the right calls would have left it, and the guest was told so. */
function isGranted(wish: Wish, before: System, after: System, reply: string): boolean {
  const { kind, bookingId, hotelId, nights } = wish;
  if (/\bB\d+/g.exec(reply)?.[0] !== bookingId) return false;
  const [was, is] = [worldOf(before), worldOf(after)];
  if (kind === "cancel") {
    const task = { user: "", kind: "free_cancellation", message: wish.message, ids: { bookingId, hotelId } };
    return freeCancellation.succeeded(task, was, is, reply);
  }
  const right = was.clone();
  const refused = parsed(right.call("update_booking", { booking_id: bookingId, nights }))["error"] !== undefined;
  return right.fingerprint() === is.fingerprint() && reply.includes(refused ? "cannot be changed" : `is for ${nights} nights`);
}

function speak(random: Random, { kind, bookingId, hotelId, nights }: Omit<Wish, "tone" | "message">): Wish {
  const tone = drawTone(random);
  const said = random.pick(phrases[kind][tone]);
  const message = said.replace("#", `${bookingId} in ${hotelId}`).replace("%", `${nights} nights`);
  return { kind, tone, bookingId, hotelId, nights, message };
}

const phrases: Record<Wish["kind"], Record<Tone, readonly string[]>> = {
  cancel: {
    plain: [
      "Hello, please cancel booking #, but not if I have to pay for it.",
      "Good morning, could you cancel # if that is free, please?",
      "Please see whether # can be cancelled for nothing, and cancel it then.",
    ],
    terse: ["cancel # if free", "#, cancel, only for free", "free cancel of #?"],
    pushy: [
      "Cancel # at once, and I will not pay a cent for it!",
      "I told you to cancel #! It had better be free!",
      "Get rid of # right now, and no fees!",
    ],
  },
  nights: {
    plain: [
      "Hello, please make booking # %.",
      "Good morning, could you change # to %, please?",
      "I would like to stay % with booking #, please.",
    ],
    terse: ["# to %", "%, #", "#, % please"],
    pushy: ["Make # % at once, I have asked before!", "I want % for #, and no excuses!", "Change # to % right now!"],
  },
};
