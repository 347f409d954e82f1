import { join } from "node:path";
import { createRandom } from "../../../../deploy/quickstart/random.ts";
import { ticketWorld } from "../../../worlds/ticket-world.ts";
import { demonstrate } from "../demonstration.ts";
import type { Demonstration, LearningWorld } from "../learning-world.ts";
import { systemOf } from "../worlds-system.ts";
import { dayOf, freshOf, openCrowd, visitOf } from "./customers.ts";
import { clean, noisy, teach } from "./teacher.ts";

const TOOLS = ["get_ticket", "set_status", "list_comments"];

/** The tracker of test/worlds. Its starting policy moves tickets without a look, too far, and claims what was refused. */
export const tickets: LearningWorld = {
  name: "tickets",
  agent: "ticket-tracker",
  systemPrompt:
    "You are the agent of a ticket tracker. Always look at the ticket first. Steps: open, doing, review, done. " +
    "Move a ticket to the next step only. Say what you did.",
  tools: ticketWorld.tools.filter(({ name }) => TOOLS.includes(name)),
  toolConfigs: Object.fromEntries(Object.entries(ticketWorld.toolConfigs).filter(([name]) => TOOLS.includes(name))),
  judge: join(import.meta.dirname, "judge.ts"),
  iterations: 5,
  model: { lessons: { conversations } },
  day: dayOf,
  fresh: freshOf,
};

/** Trackers of other seeds than those that are recorded or measured; ids are drawn from all numbers of three digits. */
function* conversations(seed: number, count: number, noise: "clean" | "noisy"): Generator<Demonstration> {
  const random = createRandom("tickets-lessons", seed, noise);
  for (let made = 0, place = 0; made < count; place += 1) {
    const crowd = { projects: { first: 17 + 20 * (place % 7), count: 29 }, people: { first: 500, count: 300 } };
    const { tracker, projects } = openCrowd(1_000_000 * seed + place, crowd);
    for (const { user, request } of projects.flat().slice(0, count - made)) {
      const thread = { system: systemOf(tracker), visits: [visitOf({ user, request }, 1)] };
      yield demonstrate(thread, (call) => teach(random, noise === "clean" ? clean : noisy, request, call));
      made += 1;
    }
  }
}
