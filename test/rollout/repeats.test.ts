import { expect, it } from "vitest";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { define, toolConfig } from "../worlds/world.ts";
import { cascadeFor, conversation, play, type Step } from "./build.ts";

const tools = [define("get_room", { room_id: { type: "string" } }), define("book_room", { room_id: { type: "string" } })];
const room = { argumentRoles: { room_id: "key" as const }, entityPaths: ["room:{room_id}"] };
// Somebody declared that a room's answer depends on the room alone. It counts the hotel's free rooms.
const configs = { get_room: toolConfig({ class: "read", ...room }), book_room: toolConfig({ class: "write", ...room }) };
const look = (id: string, free: number): Step => ({ tool: "get_room", args: { room_id: id }, result: { room_id: id, hotel_free: free } });
const book = (id: string): Step => ({ tool: "book_room", args: { room_id: id }, result: { room_id: id, booked: true } });

/** One conversation after the other, a million milliseconds apart. */
const inTurn = (...each: readonly Step[][]): readonly Trajectory[] =>
  each.map((steps, index) => conversation(`t${index}`, steps, { tools, startMs: index * 1e6 }));

/** What the last conversation, which did nothing else, is answered when it looks at room A. */
function lookAfter(...each: readonly Step[][]): { rung: string | undefined; confidence: number | undefined; free: unknown } {
  const all = inTurn(...each, [look("Z", 9)]);
  const mine = all.at(-1) as Trajectory;
  const [answer] = play(cascadeFor(all, { configs }), mine, [look("A", 0)]);
  const said = JSON.parse(answer?.result ?? "{}") as { hotel_free?: number };
  return { rung: answer?.rung, confidence: answer?.confidence, free: said.hotel_free };
}

it("serves another tape's answer with less confidence until repeats showed that others' writes elsewhere leave it alone", () => {
  expect(lookAfter([look("A", 5)])).toEqual({ rung: "R3", confidence: 0.85, free: 5 });
  const steady = Array.from({ length: 5 }, (_, index) => [[look("A", 5)], [book(`B${index}`)]]).flat();
  // Five looks are four repeats, six are five.
  expect(lookAfter(...steady)).toMatchObject({ rung: "R3", confidence: 0.85 });
  expect(lookAfter(...steady, [look("A", 5)])).toMatchObject({ rung: "R3", confidence: 0.97 });
});

it("serves a read that others' writes elsewhere were seen to change only where nobody wrote anything since", () => {
  const changing = [[look("A", 5)], [book("B")], [look("A", 4)], [book("C")], [look("A", 3)]];
  expect(lookAfter(...changing)).toMatchObject({ rung: "R3", free: 3 });
  expect(lookAfter(...changing, [book("D")])).toMatchObject({ rung: "R7" });
  expect(lookAfter(...changing, [book("D"), book("E")], [look("A", 1)])).toMatchObject({ rung: "R3", free: 1 });
});

it("takes one change for somebody's whom nobody recorded", () => {
  expect(lookAfter([look("A", 5)], [book("B")], [look("A", 4)], [book("C")])).toMatchObject({ rung: "R3", free: 4 });
});

it("counts a write of the rollout's own elsewhere as anybody's", () => {
  const changing = [[look("A", 5)], [book("B")], [look("A", 4)], [book("C")], [look("A", 3)]];
  const all = inTurn(...changing, [book("D")]);
  const mine = all.at(-1) as Trajectory;
  const cascade = cascadeFor(all, { configs });
  expect(play(cascade, mine, [look("A", 0)])[0]).toMatchObject({ rung: "R3", result: JSON.stringify({ room_id: "A", hotel_free: 3 }) });
  expect(play(cascade, mine, [book("D"), look("A", 0)]).map(({ rung }) => rung)).toEqual(["R1", "R7"]);
});
