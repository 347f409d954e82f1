import { bookingsPolicy, drawBookingTask, extraBookingCall } from "./bookings-policy.ts";
import { deskRules, isReleased, openDesk, type DeskSize } from "./bookings-desk.ts";
import { createWorld, define, toolConfig, type World, type WorldCall, type WorldKind } from "./world.ts";

const traps = {
  filters: "search_rooms answers differ by filters and their defaults; a booking elsewhere in the hotel changes them",
  pages: "limit and offset show a part; what an earlier page loses, a later one gains",
  hiddenCoupling: "get_room counts the free rooms of a hotel that neither its arguments nor its answer name",
  silentCoupling: "cancel_booking changes find_bookings of a guest whom its answer does not name",
  idsAgain: "a cancelled booking's id is given to the next booking",
  writeAsRead: "check_in is annotated read-only and is not",
  partialUpdate: "update_booking changes the fields that it is given, one at a time, and answers with those alone",
  wording: "the guest's name is free text, and get_booking shows it",
  refusedUpdate: "one bad field and nothing of an update is kept",
  stateErrors: "booking a room twice, cancelling or changing nights after check-in, checking in twice: errors by state alone",
  clocksAndNonces: "`now` and `request_id` differ with every call and mean nothing; `checked_at` does in answers",
  release: "search_rooms renames an argument and answers with one more field from some moment on",
  background: "staff close and open rooms behind everybody's back",
  pseudonyms: "every conversation calls its own first guest <email_1>",
  cutResults: "long listings reach the tape cut off, with a marker",
} as const;

const text = { type: "string" };
const count = (value?: number): Record<string, unknown> => ({ type: "integer", ...(value === undefined ? {} : { default: value }) });
const paging = { limit: count(3), offset: count(0) };
const shared = [
  define("get_room", { room_id: text, now: text }, ["room_id"]),
  define("get_booking", { booking_id: text }),
  define("find_bookings", { email: text }),
  define("list_bookings", { hotel_id: text, ...paging }, ["hotel_id"]),
  define("cancellation_policy", { hotel_id: text }),
  define("book_room", { room_id: text, guest: text, email: text, nights: count(1), request_id: text }, ["room_id", "guest", "email"]),
  define("update_booking", { booking_id: text, guest: text, email: text, nights: count() }, ["booking_id"]),
  define("cancel_booking", { booking_id: text }),
  define("check_in", { booking_id: text }),
];
const tools = [define("search_rooms", { hotel_id: text, min_beds: count(1), max_price: count(), ...paging }, ["hotel_id"]), ...shared];
const laterTools = [define("search_rooms", { hotel_id: text, beds: count(1), max_price: count(), ...paging }, ["hotel_id"]), ...shared];

const booking = { argumentRoles: { booking_id: "key" as const }, entityPaths: ["booking:{booking_id}"] };
const room = { entityPaths: ["room:{room_id}"] };
const inHotel = { hotel_id: "key", limit: "filter", offset: "filter" } as const;

/** Rooms, bookings and guests of a few hotels. */
export const bookingsWorld: WorldKind = {
  name: "bookings",
  traps,
  tools,
  later: { tools: laterTools, spelled },
  toolConfigs: {
    search_rooms: toolConfig({
      class: "read",
      argumentRoles: { ...inHotel, min_beds: "filter", beds: "filter", max_price: "filter" },
      entityPaths: ["hotel:{hotel_id}"],
    }),
    list_bookings: toolConfig({ class: "read", argumentRoles: inHotel, entityPaths: ["hotel:{hotel_id}"] }),
    find_bookings: toolConfig({ class: "read", argumentRoles: { email: "key" }, entityPaths: ["guest:{email}"] }),
    get_room: toolConfig({ class: "read", argumentRoles: { room_id: "key", now: "clock" }, ...room, volatileResultPaths: ["checked_at"] }),
    get_booking: toolConfig({ class: "read", ...booking }),
    cancellation_policy: toolConfig({ class: "constant", argumentRoles: { hotel_id: "key" } }),
    book_room: toolConfig({
      class: "write",
      argumentRoles: { room_id: "key", guest: "freeText", email: "key", request_id: "nonce" },
      ...room,
      volatileResultPaths: ["booking_id"],
    }),
    update_booking: toolConfig({ class: "write", ...booking }),
    cancel_booking: toolConfig({ class: "write", ...booking }),
    // Annotated read-only by its author, and it is not.
    check_in: toolConfig({ class: "read", ...booking }),
  },
  writes: new Set(["book_room", "update_booking", "cancel_booking", "check_in"]),
  clocks: { get_room: ["checked_at"] },
  newIds: { book_room: ["booking_id"] },
  longestResult: 200,
  create: (seed) => openBookings(seed),
  task: drawBookingTask,
  policy: bookingsPolicy,
  extra: extraBookingCall,
};

export function openBookings(seed: number, size?: DeskSize): World {
  return createWorld(openDesk(seed, size), {
    ...deskRules,
    // Clients may be older than the system, not newer.
    tools: (desk) => (isReleased(desk) ? [...tools, ...laterTools] : tools),
  });
}

function spelled(call: WorldCall): WorldCall {
  if (call.tool !== "search_rooms" || typeof call.args !== "object" || call.args === null) return call;
  const entries = Object.entries(call.args).map(([name, value]): [string, unknown] => [name === "min_beds" ? "beds" : name, value]);
  return { tool: call.tool, args: Object.fromEntries(entries) };
}
