import { describe, expect, it } from "vitest";
import { emptyOverlay } from "../../src/rollout/cascade/overlay.ts";
import type { PooledEntry, TapePool } from "../../src/rollout/cascade/tape-pool.ts";
import { startOfTrajectory } from "../../src/rollout/start.ts";
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

it("takes two changes around one odd conversation for its own, and not for two without it", () => {
  const odd = [[look("A", 5)], [book("B")], [look("A", 4)], [book("C")], [look("A", 5)], [book("D")]];
  expect(lookAfter(...odd)).toMatchObject({ rung: "R3", free: 5 });
  // Whichever conversation is left out, the others tell of a change.
  const changing = [[look("A", 5)], [book("B")], [look("A", 4)], [book("C")], [look("A", 3)], [book("D")]];
  expect(lookAfter(...changing)).toMatchObject({ rung: "R7" });
});

it("counts two conversations once, however often they looked", () => {
  const offset = (id: string, steps: readonly Step[], startMs: number): Trajectory => conversation(id, steps, { tools, startMs });
  const looks = Array.from({ length: 8 }, () => look("A", 5));
  // One looks in the other's pauses, and somebody books in between.
  const others = [offset("one", looks, 0), offset("other", looks, 500)];
  const between = Array.from({ length: 16 }, (_, index) => offset(`b${index}`, [book(`B${index}`)], index * 500 + 250));
  const mine = offset("mine", [look("Z", 9)], 1e9);
  expect(play(cascadeFor([...others, ...between, mine], { configs }), mine, [look("A", 0)])[0]).toMatchObject({
    rung: "R3",
    confidence: 0.85,
  });
});

describe("an answer of another tape where somebody whom nobody recorded has written", () => {
  const guestTools = [...tools, define("get_guest", { guest_id: { type: "string" } })];
  const guest = { argumentRoles: { guest_id: "key" as const }, entityPaths: ["guest:{guest_id}"] };
  const guestConfigs = { ...configs, get_guest: toolConfig({ class: "read", ...guest }) };
  const greet = (name: string): Step => ({ tool: "get_guest", args: { guest_id: "G" }, result: { guest_id: "G", name } });
  /** How far the last conversation believes what another said of room A. */
  const believed = (...each: readonly Step[][]): number | undefined => {
    const all = each.map((steps, index) => conversation(`t${index}`, steps, { tools: guestTools, startMs: index * 1e6 }));
    const mine = all.at(-1) as Trajectory;
    const [answer] = play(cascadeFor(all, { configs: guestConfigs }), mine, [look("A", 0)]);
    expect(answer?.rung).toBe("R3");
    return answer?.confidence;
  };

  it("counts less where the same read was otherwise, though nobody is known to have written: 1 − (0.3 + 1) / (2 + 1)", () => {
    expect(believed([look("A", 5)], [look("A", 4)], [look("Z", 9)])).toBeCloseTo(1 - 1.3 / 3, 12);
    // Five that were the same though others wrote, and one more: 1 − (0.3 + 1) / (2 + 6).
    const steady = Array.from({ length: 6 }, (_, index) => [[look("A", 5)], [book(`B${index}`)]]).flat();
    expect(believed(...steady, [look("Z", 9)])).toBe(0.97);
    expect(believed(...steady, [look("C", 5)], [look("C", 4)], [look("Z", 9)])).toBeCloseTo(0.8375, 12);
  });

  it("counts less where that tape and the own one contradict each other in anything else", () => {
    expect(believed([greet("Ann"), look("A", 5)], [greet("Ann")])).toBe(0.85);
    expect(believed([greet("Ann"), look("A", 5)], [greet("Bo")])).toBeCloseTo(1 - 1.3 / 3, 12);
    // What a recorded write explains contradicts nothing.
    const booked: Step = { tool: "book_room", args: { room_id: "G" }, result: { room_id: "G", guest_id: "G", name: "Bo" } };
    expect(believed([greet("Ann"), look("A", 5)], [booked], [greet("Bo")])).toBe(0.85);
  });
});

it("reads its own answer once, however many others it is held against", () => {
  const guests = (name: string): Step => ({ tool: "get_room", args: { room_id: "A" }, result: { room_id: "A", guests: [name] } });
  const others = Array.from({ length: 50 }, (_, index) => conversation(`o${index}`, [guests("Ann")], { tools, startMs: index * 1e6 }));
  const mine = conversation("mine", [guests("Bo"), look("Z", 9)], { tools, startMs: 1e9 });
  const cascade = cascadeFor([...others, mine], { configs });
  let read = 0;
  const counted = (seen: PooledEntry): PooledEntry =>
    Object.defineProperty({ ...seen }, "parsed", {
      get() {
        read += 1;
        return seen.parsed;
      },
    });
  const own = cascade.pool
    .ofTapeCall("mine@1", cascade.prepare(startOfTrajectory(mine), "get_room", { room_id: "A" }).callKey)
    .map(counted);
  expect(own).toHaveLength(1);
  const pool: TapePool = { ...cascade.pool, ofTapeCall: () => own };
  const start = startOfTrajectory(mine);
  const booked = cascade.prepare(start, "book_room", { room_id: "Z" });
  const overlay = cascade.advance(emptyOverlay(), booked, {
    result: JSON.stringify({ room_id: "Z", booked: true }),
    isError: false,
    epochs: null,
  });
  const asked = cascade.prepare(start, "get_room", { room_id: "A" });
  // Ann is no guest where the own tape saw Bo. Once to hold the others against it, once to derive from it.
  expect(cascade.answer({ pool, start, overlay }, asked, { seed: [1], turn: "" })).toMatchObject({ rung: "R4", madeFrom: ["mine@1"] });
  expect(read).toBe(2);
});
