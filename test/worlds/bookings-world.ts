import { createRandom, type Random } from "../../deploy/quickstart/random.ts";
import { define, toolConfig, type Policy, type Task, type World, type WorldKind } from "./world.ts";

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
  state: "booked" | "checked_in";
}

const hotels = 12;
const roomsEach = 4;

const text = { type: "string" };
const tools = [
  define("search_rooms", { hotel_id: text, min_beds: { type: "integer", default: 1 } }, ["hotel_id"]),
  define("get_room", { room_id: text }),
  define("get_booking", { booking_id: text }),
  define("cancellation_policy", { hotel_id: text }),
  define("book_room", { room_id: text, guest: text }),
  define("cancel_booking", { booking_id: text }),
  define("check_in", { booking_id: text }),
];

const booking = { argumentRoles: { booking_id: "key" as const }, entityPaths: ["booking:{booking_id}"] };
const room = { entityPaths: ["room:{room_id}"] };
const toolConfigs = {
  search_rooms: toolConfig({ class: "read", argumentRoles: { hotel_id: "key", min_beds: "filter" }, entityPaths: ["hotel:{hotel_id}"] }),
  get_room: toolConfig({ class: "read", argumentRoles: { room_id: "key" }, ...room }),
  get_booking: toolConfig({ class: "read", ...booking }),
  cancellation_policy: toolConfig({ class: "constant", argumentRoles: { hotel_id: "key" } }),
  book_room: toolConfig({
    class: "write",
    argumentRoles: { room_id: "key", guest: "freeText" },
    ...room,
    volatileResultPaths: ["booking_id"],
  }),
  cancel_booking: toolConfig({ class: "write", ...booking }),
  // Annotated read-only by its author, and it is not.
  check_in: toolConfig({ class: "read", ...booking }),
};

/**
 * A bookings desk that is hard to replay: filters, a count of free rooms in answers about single rooms (hidden coupling), ids that are given out again,
 * a write annotated as a read, and staff who close rooms behind everybody's back.
 */
export const bookingsWorld: WorldKind = {
  name: "bookings",
  tools,
  toolConfigs,
  create: (seed) => createDesk(initialState(seed)),
  task: drawTask,
  policy: (task, random) => policy(task, random),
};

interface State {
  rooms: Map<string, Room>;
  bookings: Map<string, Booking>;
}

function initialState(seed: number): State {
  const random = createRandom("bookings-world", seed);
  const rooms = new Map<string, Room>();
  const bookings = new Map<string, Booking>();
  for (let hotel = 0; hotel < hotels; hotel += 1) {
    for (let index = 0; index < roomsEach; index += 1) {
      const room_id = `R${hotel * 10 + index + 100}`;
      rooms.set(room_id, {
        room_id,
        hotel_id: `H${hotel}`,
        beds: random.integer(1, 3),
        price: 10 * random.integer(6, 20),
        closed: random.chance(0.05),
      });
      if (random.chance(0.4)) book({ rooms, bookings }, room_id);
    }
  }
  return { rooms, bookings };
}

function createDesk(state: State, counters = { calls: 0, writes: 0 }): World {
  return {
    call(tool, args) {
      counters.calls += 1;
      const answer = JSON.stringify(answerOf(state, tool, args));
      if (["book_room", "cancel_booking", "check_in"].includes(tool) && !answer.startsWith('{"error"')) counters.writes += 1;
      return answer;
    },
    background(random) {
      const found = random.pick([...state.rooms.values()]);
      found.closed = !found.closed;
    },
    clone: () => createDesk({ rooms: copied(state.rooms), bookings: copied(state.bookings) }, { ...counters }),
    counters: () => ({ ...counters }),
  };
}

function copied<T extends object>(map: Map<string, T>): Map<string, T> {
  return new Map([...map].map(([key, value]) => [key, { ...value }]));
}

function answerOf(state: State, tool: string, args: unknown): unknown {
  if (!tools.some(({ name }) => name === tool)) return { error: `no tool ${tool}` };
  const given: Record<string, unknown> = typeof args === "object" && args !== null ? { ...args } : {};
  const idOf = (name: string): string => (typeof given[name] === "string" ? given[name] : "");
  if (tool === "search_rooms") return search(state, idOf("hotel_id"), Number(given["min_beds"] ?? 1));
  if (tool === "cancellation_policy") return { hotel_id: idOf("hotel_id"), free_until_days: 1 + (idOf("hotel_id").length % 3) };
  if (tool === "get_room" || tool === "book_room") {
    const found = state.rooms.get(idOf("room_id"));
    if (found === undefined) return { error: "no such room", room_id: idOf("room_id") };
    return tool === "get_room" ? describe(state, found) : bookAnswer(state, found);
  }
  const found = state.bookings.get(idOf("booking_id"));
  if (found === undefined) return { error: "no such booking", booking_id: idOf("booking_id") };
  if (tool === "get_booking") return found;
  if (tool === "check_in") return checkIn(found);
  if (found.state === "checked_in") return { error: "guest has checked in", booking_id: found.booking_id };
  state.bookings.delete(found.booking_id);
  return { booking_id: found.booking_id, room_id: found.room_id, cancelled: true };
}

function search(state: State, hotelId: string, minBeds: number): unknown {
  const free = [...state.rooms.values()].filter((one) => one.hotel_id === hotelId && one.beds >= minBeds && isFree(state, one));
  return { hotel_id: hotelId, rooms: free.map(({ room_id, price }) => ({ room_id, price })) };
}

/** `hotel_free` depends on every room of the hotel, and nothing in the answer says which hotel that is. */
function describe(state: State, found: Room): unknown {
  const hotelFree = [...state.rooms.values()].filter((one) => one.hotel_id === found.hotel_id && isFree(state, one)).length;
  return { room_id: found.room_id, beds: found.beds, price: found.price, free: isFree(state, found), hotel_free: hotelFree };
}

function bookAnswer(state: State, found: Room): unknown {
  if (!isFree(state, found)) return { error: "not available", room_id: found.room_id };
  return { ...book(state, found.room_id), price: found.price };
}

/** Gives out the lowest free id, so that a cancelled booking's id comes back for another one. */
function book(state: State, roomId: string): Booking {
  let number = 1;
  while (state.bookings.has(`B${number}`)) number += 1;
  const made: Booking = { booking_id: `B${number}`, room_id: roomId, state: "booked" };
  state.bookings.set(made.booking_id, made);
  return { ...made };
}

function checkIn(found: Booking): unknown {
  if (found.state === "checked_in") return { error: "already checked in", booking_id: found.booking_id };
  found.state = "checked_in";
  return { booking_id: found.booking_id, state: "checked_in" };
}

function isFree(state: State, found: Room): boolean {
  return !found.closed && ![...state.bookings.values()].some((one) => one.room_id === found.room_id);
}

function drawTask(random: Random): Task {
  const hotel = random.integer(0, hotels - 1);
  const kind = random.pick(["book", "book", "change", "check_in"]);
  const ids = {
    hotelId: `H${hotel}`,
    roomId: `R${hotel * 10 + random.integer(0, roomsEach - 1) + 100}`,
    bookingId: `B${random.integer(1, 20)}`,
  };
  const says = {
    book: `book room ${ids.roomId} in ${ids.hotelId}`,
    change: `cancel booking ${ids.bookingId}, is ${ids.roomId} free`,
    check_in: `check me in for ${ids.bookingId}`,
  }[kind];
  return { user: `u${random.integer(0, 60)}`, kind, message: `Hello, please ${says}`, ids };
}

const policy: Policy = function* serve({ kind, ids }, random) {
  const { hotelId = "", roomId = "", bookingId = "" } = ids;
  const getRoom = { tool: "get_room", args: { room_id: roomId } };
  const getBooking = { tool: "get_booking", args: { booking_id: bookingId } };
  const search = {
    tool: "search_rooms",
    args: { hotel_id: hotelId, ...(random.chance(0.3) ? { min_beds: random.pick([1, 2, "2"]) } : {}) },
  };
  const near = { tool: "get_room", args: { room_id: `R${Number(roomId.slice(1)) ^ 1}` } };
  if (kind === "book") {
    if (random.chance(0.6)) yield [search];
    if (random.chance(0.8)) yield random.chance(0.2) ? [getRoom, search] : [getRoom];
    if (random.chance(0.3)) yield [near];
    const booked = random.chance(0.8)
      ? parse((yield [{ tool: "book_room", args: { room_id: roomId, guest: random.pick(["Ann", "Bo"]) } }]).at(0))
      : {};
    const made = { tool: "get_booking", args: { booking_id: String(booked["booking_id"] ?? bookingId) } };
    if (random.chance(0.5)) yield [made];
    if (random.chance(0.3)) yield [random.chance(0.5) ? getRoom : search];
    if (random.chance(0.3)) yield [near];
    return `Room ${roomId} is done.`;
  }
  if (random.chance(0.8)) yield [getBooking];
  if (random.chance(0.3)) yield [{ tool: "cancellation_policy", args: { hotel_id: hotelId } }];
  if (kind === "check_in") {
    if (random.chance(0.85)) yield [{ tool: "check_in", args: { booking_id: bookingId } }];
    if (random.chance(0.5)) yield [getBooking];
    if (random.chance(0.1)) yield [{ tool: "check_in", args: { booking_id: bookingId } }];
    return `You are checked in.`;
  }
  if (random.chance(0.7)) yield random.chance(0.5) ? [getRoom, near] : [near];
  if (random.chance(0.7)) yield [{ tool: "cancel_booking", args: { booking_id: bookingId } }];
  if (random.chance(0.6)) yield [random.chance(0.5) ? getBooking : getRoom];
  if (random.chance(0.5)) yield [near];
  if (random.chance(0.2)) yield [search];
  return `Booking ${bookingId} is changed.`;
};

function parse(answer: string | undefined): Record<string, string | number | undefined> {
  return answer === undefined ? {} : (JSON.parse(answer) as Record<string, string | number>);
}
