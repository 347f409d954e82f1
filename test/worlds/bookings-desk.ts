import { createRandom, type Random } from "../../deploy/quickstart/random.ts";
import { addressOf } from "./people.ts";
import { createTable, type Table } from "./table.ts";
import type { Arguments, Rules } from "./world.ts";

/** The rules of the bookings desk; its traps are listed in bookings-world.ts. */
export const hotels = 12;
export const roomsEach = 4;
export const guests = 40;

interface Room {
  room_id: string;
  hotel_id: string;
  beds: number;
  price: number;
  closed: boolean;
}

interface Booking {
  booking_id: string;
  room_id: string;
  guest: string;
  email: string;
  nights: number;
  state: "booked" | "checked_in";
}

export interface Desk extends Readonly<Record<string, Table<object>>> {
  rooms: Table<Room>;
  bookings: Table<Booking>;
  system: Table<{ release: number }>;
}

/** Which hotels a desk has and which guests it knows, by number: two desks of other numbers share neither. A hotel has at most ten rooms. */
export interface DeskSize {
  roomsEach: number;
  hotels: { first: number; count: number };
  guests: { first: number; count: number };
}

const usual: DeskSize = { roomsEach, hotels: { first: 0, count: hotels }, guests: { first: 0, count: guests } };

export function openDesk(seed: number, size: DeskSize = usual): Desk {
  const random = createRandom("bookings-world", seed);
  const desk: Desk = { rooms: createTable(), bookings: createTable(), system: createTable() };
  desk.system.set("release", { release: 0 });
  const guest = (): string => addressOf(size.guests.first + random.integer(0, size.guests.count - 1));
  for (let hotel = size.hotels.first; hotel < size.hotels.first + size.hotels.count; hotel += 1) {
    for (let index = 0; index < size.roomsEach; index += 1) {
      const room_id = `R${hotel * 10 + index + 100}`;
      const [beds, price] = [random.integer(1, 3), 10 * random.integer(6, 20)];
      desk.rooms.set(room_id, { room_id, hotel_id: `H${hotel}`, beds, price, closed: random.chance(0.05) });
      if (random.chance(0.4)) book(desk, { room_id, guest: "Ann", email: guest(), nights: random.integer(1, 5) });
    }
  }
  return desk;
}

export const deskRules: Omit<Rules<Desk>, "tools"> = {
  answer,
  /** Staff close a room, or open it again. */
  background(desk, random: Random) {
    const found = random.pick(desk.rooms.all());
    desk.rooms.set(found.room_id, { ...found, closed: !found.closed });
  },
  release: (desk) => desk.system.set("release", { release: 1 }),
  taken: (desk, id) => desk.bookings.get(id) !== undefined,
};

function answer(desk: Desk, tool: string, args: Arguments, tick: number): unknown {
  const idOf = (name: string): string => String(args[name] ?? "");
  switch (tool) {
    case "search_rooms":
      return searchRooms(desk, args);
    case "list_bookings":
      return listBookings(desk, args);
    case "find_bookings":
      return findBookings(desk, idOf("email"));
    case "cancellation_policy":
      return { hotel_id: idOf("hotel_id"), free: freeToCancel(idOf("hotel_id")), fee: 40 };
    case "get_room":
    case "book_room": {
      const room = desk.rooms.get(idOf("room_id"));
      if (room === undefined) return { error: "no such room", room_id: idOf("room_id") };
      return tool === "get_room" ? describe(desk, room, tick) : bookRoom(desk, room, args);
    }
    default: {
      const booking = desk.bookings.get(idOf("booking_id"));
      if (booking === undefined) return { error: "no such booking", booking_id: idOf("booking_id") };
      return aboutBooking(desk, tool, booking, args);
    }
  }
}

export function isReleased(desk: Desk): boolean {
  return desk.system.get("release")?.release === 1;
}

/** Whether a hotel lets go of a booking for nothing. */
export function freeToCancel(hotelId: string): boolean {
  return Number(hotelId.slice(1)) % 2 === 0;
}

function aboutBooking(desk: Desk, tool: string, booking: Booking, args: Arguments): unknown {
  const { booking_id } = booking;
  if (tool === "get_booking") return booking;
  if (tool === "update_booking") return update(desk, booking, args);
  if (tool === "check_in") {
    if (booking.state === "checked_in") return { error: "already checked in", booking_id };
    desk.bookings.set(booking_id, { ...booking, state: "checked_in" });
    return { booking_id, state: "checked_in" };
  }
  if (booking.state === "checked_in") return { error: "guest has checked in", booking_id };
  desk.bookings.delete(booking_id);
  return { booking_id, room_id: booking.room_id, cancelled: true };
}

/** Changes what is given and nothing else; one bad field, and none of the others changes either. Answers with what changed alone. */
function update(desk: Desk, booking: Booking, args: Arguments): unknown {
  const { booking_id } = booking;
  const changes: Partial<Booking> = {};
  if (args["guest"] !== undefined) changes.guest = String(args["guest"]);
  if (args["email"] !== undefined) changes.email = String(args["email"]);
  if (args["nights"] !== undefined) {
    changes.nights = Number(args["nights"]);
    if (changes.nights < 1 || changes.nights > 14) return { error: "nights must be 1 to 14", booking_id, nights: changes.nights };
    if (booking.state === "checked_in") return { error: "the stay has begun", booking_id };
  }
  desk.bookings.set(booking_id, { ...booking, ...changes });
  return { booking_id, ...changes };
}

function searchRooms(desk: Desk, args: Arguments): unknown {
  const hotel_id = String(args["hotel_id"]);
  const least = Number(args["min_beds"] ?? args["beds"] ?? 1);
  const most = Number(args["max_price"] ?? 1_000);
  const free = desk.rooms
    .all()
    .filter((room) => room.hotel_id === hotel_id && room.beds >= least && room.price <= most && isFree(desk, room));
  const later = isReleased(desk);
  const shown = page(free, args).map(({ room_id, price, beds }) => (later ? { room_id, price, beds } : { room_id, price }));
  return { hotel_id, rooms: shown, total: free.length };
}

function listBookings(desk: Desk, args: Arguments): unknown {
  const hotel_id = String(args["hotel_id"]);
  const own = desk.bookings.all().filter((one) => desk.rooms.get(one.room_id)?.hotel_id === hotel_id);
  return {
    hotel_id,
    bookings: page(own, args).map(({ booking_id, room_id, email }) => ({ booking_id, room_id, email })),
    total: own.length,
  };
}

function findBookings(desk: Desk, email: string): unknown {
  const own = desk.bookings.all().filter((one) => one.email === email);
  return { email, bookings: own.map(({ booking_id, room_id, nights, state }) => ({ booking_id, room_id, nights, state })) };
}

function page<T>(rows: readonly T[], args: Arguments): readonly T[] {
  const offset = Number(args["offset"] ?? 0);
  return rows.slice(offset, offset + Number(args["limit"] ?? 3));
}

/** `hotel_free` depends on every room of the hotel, and nothing in the answer says which hotel that is. */
function describe(desk: Desk, room: Room, tick: number): unknown {
  const hotel_free = desk.rooms.all().filter((one) => one.hotel_id === room.hotel_id && isFree(desk, one)).length;
  const { room_id, beds, price } = room;
  return { room_id, beds, price, free: isFree(desk, room), hotel_free, checked_at: 1_700_000_000 + tick };
}

function bookRoom(desk: Desk, room: Room, args: Arguments): unknown {
  const nights = Number(args["nights"] ?? 1);
  if (nights < 1 || nights > 14) return { error: "nights must be 1 to 14", room_id: room.room_id, nights };
  if (!isFree(desk, room)) return { error: "not available", room_id: room.room_id };
  const { room_id } = room;
  return { ...book(desk, { room_id, guest: String(args["guest"]), email: String(args["email"]), nights }), price: room.price };
}

/** Gives out the lowest free id, so that a cancelled booking's id comes back for another one. */
function book(desk: Desk, wanted: Omit<Booking, "booking_id" | "state">): Booking {
  let number = 1;
  while (desk.bookings.get(`B${number}`) !== undefined) number += 1;
  const made: Booking = { booking_id: `B${number}`, ...wanted, state: "booked" };
  desk.bookings.set(made.booking_id, made);
  return made;
}

function isFree(desk: Desk, room: Room): boolean {
  return !room.closed && !desk.bookings.all().some((one) => one.room_id === room.room_id);
}
