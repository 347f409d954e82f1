import type { Random } from "../../deploy/quickstart/random.ts";
import { guests, hotels, roomsEach } from "./bookings-desk.ts";
import { addressOf } from "./people.ts";
import { parsed, type Policy, type Task, type WorldCall } from "./world.ts";

export function drawBookingTask(random: Random): Task {
  const hotel = random.integer(0, hotels - 1);
  const guest = random.integer(0, guests - 1);
  const kind = random.pick(["book", "book", "cancel", "update", "check_in"]);
  const ids = {
    hotelId: `H${hotel}`,
    roomId: `R${hotel * 10 + random.integer(0, roomsEach - 1) + 100}`,
    bookingId: `B${random.integer(1, 20)}`,
    email: addressOf(guest),
  };
  const says = {
    book: `book room ${ids.roomId} in ${ids.hotelId}`,
    cancel: `cancel booking ${ids.bookingId}, is ${ids.roomId} free`,
    update: `change booking ${ids.bookingId}`,
    check_in: `check me in for ${ids.bookingId}`,
  }[kind];
  return { user: `u${guest}`, kind, message: `Hello, I am ${ids.email}, please ${says}`, ids };
}

const call = (tool: string, args: Record<string, unknown>): WorldCall => ({ tool, args });

function callsOf(
  { ids }: Task,
  random: Random,
): Record<"room" | "near" | "booking" | "search" | "list" | "mine" | "book" | "update", WorldCall> {
  const { hotelId = "", roomId = "", bookingId = "", email = "" } = ids;
  const now = random.chance(0.3) ? { now: `2023-11-${random.integer(10, 28)}` } : {};
  const filters = random.chance(0.3) ? { min_beds: random.pick([1, 2, "2"]) } : random.chance(0.2) ? { max_price: 120 } : {};
  const paging = random.chance(0.3) ? { limit: random.pick([1, 2, 3]), offset: random.pick([0, 2]) } : {};
  const nonce = random.chance(0.5) ? { request_id: `q-${random.integer(0, 1e6)}` } : {};
  const nights = random.chance(0.5) ? { nights: random.pick([1, 2, 3, 40]) } : {};
  const changes = random.pick([
    { nights: random.pick([1, 2, 4, 20]) },
    { guest: "Bo" },
    { guest: "Cy", nights: random.pick([3, 50]) },
    { email },
  ]);
  return {
    room: call("get_room", { room_id: roomId, ...now }),
    near: call("get_room", { room_id: `R${Number(roomId.slice(1)) ^ 1}` }),
    booking: call("get_booking", { booking_id: bookingId }),
    search: call("search_rooms", { hotel_id: hotelId, ...filters, ...paging }),
    list: call("list_bookings", { hotel_id: hotelId, ...paging }),
    mine: call("find_bookings", { email }),
    book: call("book_room", { room_id: roomId, guest: random.pick(["Ann", "Bo"]), email, ...nights, ...nonce }),
    update: call("update_booking", { booking_id: bookingId, ...changes }),
  };
}

export function extraBookingCall(task: Task, random: Random): WorldCall {
  const calls = callsOf(task, random);
  const booking_id = task.ids["bookingId"] ?? "";
  return random.pick([...Object.values(calls), call("cancel_booking", { booking_id }), call("check_in", { booking_id })]);
}

/** Serves the request, with detours, repetitions and mistakes. */
export const bookingsPolicy: Policy = function* serve(task, random) {
  const { hotelId = "", bookingId = "" } = task.ids;
  const calls = callsOf(task, random);
  if (random.chance(0.3)) yield [calls.mine];
  if (task.kind === "book") return yield* book(task, random);
  if (random.chance(0.8)) yield [calls.booking];
  if (random.chance(0.3)) yield [call("cancellation_policy", { hotel_id: hotelId })];
  if (task.kind === "check_in") {
    if (random.chance(0.85)) yield [call("check_in", { booking_id: bookingId })];
    if (random.chance(0.5)) yield [calls.booking];
    if (random.chance(0.2)) yield [calls.update];
    if (random.chance(0.1)) yield [call("check_in", { booking_id: bookingId })];
    return `You are checked in.`;
  }
  if (task.kind === "update") {
    if (random.chance(0.9)) yield [calls.update];
    if (random.chance(0.6)) yield [calls.booking];
    if (random.chance(0.4)) yield [callsOf(task, random).update];
    if (random.chance(0.5)) yield [calls.booking];
    return `Booking ${bookingId} is changed.`;
  }
  if (random.chance(0.5)) yield random.chance(0.5) ? [calls.room, calls.near] : [calls.near];
  if (random.chance(0.7)) yield [call("cancel_booking", { booking_id: bookingId })];
  if (random.chance(0.6)) yield [random.chance(0.5) ? calls.booking : calls.room];
  if (random.chance(0.4)) yield [random.chance(0.5) ? calls.mine : calls.near];
  if (random.chance(0.3)) yield [random.chance(0.5) ? calls.search : calls.list];
  return `Booking ${bookingId} is cancelled.`;
};

function* book(task: Task, random: Random): ReturnType<Policy> {
  const calls = callsOf(task, random);
  if (random.chance(0.6)) yield [calls.search];
  if (random.chance(0.8)) yield random.chance(0.2) ? [calls.room, calls.search] : [calls.room];
  if (random.chance(0.2)) yield [calls.list];
  if (random.chance(0.3)) yield [calls.near];
  const booked = random.chance(0.8) ? parsed((yield [calls.book]).at(0)) : {};
  const madeId = typeof booked["booking_id"] === "string" ? booked["booking_id"] : (task.ids["bookingId"] ?? "");
  if (random.chance(0.5)) yield [call("get_booking", { booking_id: madeId })];
  if (random.chance(0.3)) yield [random.pick([calls.room, calls.search, calls.mine])];
  if (random.chance(0.2)) yield [call("update_booking", { booking_id: madeId, nights: random.pick([2, 3, 30]) })];
  if (random.chance(0.2)) yield [random.chance(0.5) ? calls.near : calls.mine];
  return `Room ${task.ids["roomId"] ?? ""} is done.`;
}
