import { hotels, roomsEach } from "./bookings-desk.ts";
import { addressOf } from "./people.ts";
import { call, numbered, said, seek, type TrapScript } from "./traps.ts";
import { parsed, type World } from "./world.ts";

/** Each trap of the bookings desk alone. */
export function bookingsTraps(world: World): readonly TrapScript[] {
  const bookings = numbered("booking_id", "B", 1, 20);
  const rooms = Array.from({ length: hotels }, (_, hotel) => numbered("room_id", "R", hotel * 10 + 100, roomsEach));
  const free = (room: Readonly<Record<string, string>>): boolean => JSON.parse(world.clone().call("get_room", room)).free === true;
  const hotel = rooms.findIndex((own) => own.filter(free).length >= 2);
  const [room, other] = (rooms[hotel] ?? []).filter(free);
  const email = addressOf(1);
  const guest = { guest: "Bo", email };
  const held = seek(world, "get_booking", bookings, (answer) => answer["state"] === "booked");
  const look = call("get_booking", held.args);
  const cancel = call("cancel_booking", held.args);
  const change = (changes: Record<string, unknown>) => call("update_booking", { ...held.args, ...changes });
  const getRoom = call("get_room", room ?? {});
  const search = call("search_rooms", { hotel_id: `H${hotel}` });
  const bookIt = call("book_room", { ...room, ...guest });
  const bookOther = call("book_room", { ...other, ...guest });
  const made = call("get_booking", { booking_id: parsed(world.clone().call(bookIt.tool, bookIt.args))["booking_id"] });
  const page = call("search_rooms", { hotel_id: `H${hotel}`, limit: 1, offset: 1 });
  const hello = "Hello";
  const toOther = call("get_booking", { booking_id: "B90" });
  const close = { event: (one: World) => void one.call("book_room", { ...room, guest: "Cy", email: addressOf(2) }) };
  const crowded = numbered("hotel_id", "H", 0, hotels);
  const long = seek(world, "list_bookings", crowded, (answer) => Number(answer["total"]) >= 3);
  const list = call("list_bookings", { ...long.args, limit: 9 });
  const script = (trap: string, recorded: TrapScript["stages"][number]["steps"], attempt: TrapScript["attempt"]): TrapScript => ({
    trap,
    stages: [said(`I am ${email}`, ...recorded)],
    attempt,
  });
  return [
    script("filters", [search, bookIt], [bookIt, call("search_rooms", { hotel_id: `H${hotel}` })]),
    script("pages", [page, bookIt], [bookIt, page]),
    script("hiddenCoupling", [getRoom, bookOther], [bookOther, getRoom]),
    {
      trap: "silentCoupling",
      stages: [said(`I am ${String(held.answer["email"])}`, call("find_bookings", { email: held.answer["email"] }), cancel)],
      attempt: [cancel, call("find_bookings", { email: held.answer["email"] })],
    },
    script("idsAgain", [look, cancel, bookIt], [cancel, bookIt, look]),
    script("writeAsRead", [look, call("check_in", held.args)], [call("check_in", held.args), look]),
    script("partialUpdate", [look, change({ nights: 5 }), change({ guest: "Dee" }), look], [change({ guest: "Dee" }), look]),
    script("refusedUpdate", [look, change({ guest: "Dee", nights: 99 }), change({ guest: "Dee" }), look], [change({ guest: "Dee" }), look]),
    script("wording", [bookIt, made], [call("book_room", { ...room, guest: "Dee", email }), made]),
    script("stateErrors", [cancel], [call("check_in", held.args), cancel]),
    script("clocksAndNonces", [call("get_room", { ...room, now: "1" }), bookIt], [bookIt, call("get_room", { ...room, now: "1" })]),
    {
      trap: "release",
      stages: [said(hello, search), said(hello, { event: (one) => one.release(), isRelease: true }), said(hello, toOther)],
      attempt: [search],
    },
    { trap: "background", stages: [said(hello, getRoom), said(hello, close), said(hello, toOther)], attempt: [getRoom] },
    {
      trap: "pseudonyms",
      stages: [
        said(`I am ${String(held.answer["email"])}`, call("find_bookings", { email: held.answer["email"] })),
        said(`I am ${addressOf(99)}`, toOther),
      ],
      attempt: [call("find_bookings", { email: addressOf(99) })],
    },
    { trap: "cutResults", stages: [said(hello, list), said(hello, toOther)], attempt: [list] },
  ];
}
