import { join } from "node:path";
import { createRandom } from "../../../../deploy/quickstart/random.ts";
import { bookingsWorld } from "../../../worlds/bookings-world.ts";
import { demonstrate } from "../demonstration.ts";
import type { Demonstration, LearningWorld } from "../learning-world.ts";
import { systemOf } from "../worlds-system.ts";
import { dayOf, freshOf, openCrowd, visitOf } from "./customers.ts";
import { clean, noisy, teach } from "./teacher.ts";

const TOOLS = ["cancellation_policy", "cancel_booking", "update_booking", "get_booking"];

/** The bookings desk of test/worlds. Its starting policy cancels without a look at what that costs, and claims what it has not done. */
export const bookings: LearningWorld = {
  name: "bookings",
  agent: "bookings-desk",
  systemPrompt:
    "You are the agent of a bookings desk. Before you cancel a booking, read the cancellation policy of its hotel: " +
    "cancel only if that is free. Say what you did.",
  tools: bookingsWorld.tools.filter(({ name }) => TOOLS.includes(name)),
  toolConfigs: Object.fromEntries(Object.entries(bookingsWorld.toolConfigs).filter(([name]) => TOOLS.includes(name))),
  judge: join(import.meta.dirname, "judge.ts"),
  // After five, the true night leaves nothing to tell apart.
  iterations: 3,
  model: { lessons: { conversations } },
  day: dayOf,
  fresh: freshOf,
};

/** Desks of other seeds than those that are recorded or measured; their hotels are drawn from all numbers. */
function* conversations(seed: number, count: number, noise: "clean" | "noisy"): Generator<Demonstration> {
  const random = createRandom("bookings-lessons", seed, noise);
  for (let made = 0, place = 0; made < count; place += 1) {
    const size = { roomsEach: 4, hotels: { first: 100 + 95 * (place % 8), count: 230 }, guests: { first: 900, count: 500 } };
    const { desk, hotels } = openCrowd(1_000_000 * seed + place, size);
    for (const { user, wish } of hotels.flat().slice(0, count - made)) {
      const thread = { system: systemOf(desk), visits: [visitOf({ user, wish }, 1)] };
      yield demonstrate(thread, (call) => teach(random, noise === "clean" ? clean : noisy, wish, call));
      made += 1;
    }
  }
}
