import type { Random } from "../../deploy/quickstart/random.ts";
import { bookingsWorld } from "./bookings-world.ts";
import { freeToCancel } from "./bookings-desk.ts";
import { addressOf } from "./people.ts";
import { projects, ticketsEach } from "./ticket-system.ts";
import { ticketWorld } from "./ticket-world.ts";
import { parsed, type Policy, type Task, type World, type WorldCall, type WorldKind } from "./world.ts";

/**
 * Tasks whose success the world itself decides, and agents from bad to good: what is needed to measure whether learning from replay helps in the true
 * world. The first policy succeeds about half of the time, by a mistake that its answers show and that another habit avoids.
 */
export interface TaskFamily {
  kind: WorldKind;
  /** Something that can be asked of this world; null where it has nothing of the kind. */
  draw(world: World, random: Random): Task | null;
  /** Tasks of one cluster look alike; held-out ones should be of users and clusters that nobody learned from. */
  cluster(task: Task): string;
  /** Whether the user got what was asked for, and nothing else. A function of the world before and after, and of the reply. */
  succeeded(task: Task, before: World, after: World, reply: string): boolean;
  /** Worst first. */
  policies: Readonly<Record<"stable" | "better" | "best", Policy>>;
}

/** Plays one task in a copy of the world. */
export function attempted(family: TaskFamily, policy: Policy, task: Task, world: World, random: Random): boolean {
  const [before, after] = [world.clone(), world.clone()];
  const run = policy(task, random);
  let next = run.next([]);
  while (next.done !== true) next = run.next(next.value.map(({ tool, args }) => after.call(tool, args)));
  return family.succeeded(task, before, after, next.value);
}

const call = (tool: string, args: Readonly<Record<string, unknown>>): WorldCall => ({ tool, args });

function look(world: World, tool: string, args: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return parsed(world.clone().call(tool, args));
}

/** Cancel, but only if it costs nothing. The mistake: not to look at the policy. */
export const freeCancellation: TaskFamily = {
  kind: bookingsWorld,
  draw(world, random) {
    const bookingId = `B${random.integer(1, 25)}`;
    const booking = look(world, "get_booking", { booking_id: bookingId });
    if (booking["state"] !== "booked") return null;
    const hotelId = `H${Math.floor((Number(String(booking["room_id"]).slice(1)) - 100) / 10)}`;
    const message = `I am ${String(booking["email"])}. Please cancel ${bookingId} in ${hotelId}, but not if I have to pay for it.`;
    return { user: String(booking["email"]), kind: "free_cancellation", message, ids: { bookingId, hotelId } };
  },
  cluster: ({ ids }) => ids["hotelId"] ?? "",
  succeeded({ ids }, before, after, reply) {
    const args = { booking_id: ids["bookingId"] };
    const isGone = look(after, "get_booking", args)["error"] !== undefined;
    const others = before.clone();
    if (isGone) others.call("cancel_booking", args);
    const free = freeToCancel(ids["hotelId"] ?? "");
    return isGone === free && others.fingerprint() === after.fingerprint() && reply.includes(free ? "is cancelled" : "would cost");
  },
  policies: { stable: cancelling(0.1), better: cancelling(0.6), best: cancelling(1) },
};

/** Close a ticket and what hangs on it. The mistake: to begin with the parent, and to give up when that is refused. */
export const closing: TaskFamily = {
  kind: ticketWorld,
  draw(world, random) {
    const ticketId = `T${random.integer(0, projects - 1) * ticketsEach + random.integer(1, 2)}`;
    const ticket = look(world, "get_ticket", { ticket_id: ticketId });
    if (ticket["status"] === "done" || ticket["error"] !== undefined) return null;
    const email = addressOf(random.integer(0, 19));
    const projectId = String(ticket["project_id"]);
    return {
      user: email,
      kind: "closing",
      message: `${email} here: close ${ticketId} in ${projectId} with all that hangs on it.`,
      ids: { ticketId, projectId },
    };
  },
  cluster: ({ ids }) => ids["projectId"] ?? "",
  succeeded: ({ ids }, _, after, reply) =>
    look(after, "get_ticket", { ticket_id: ids["ticketId"] })["status"] === "done" && reply.includes("is closed"),
  policies: { stable: closingWith(0.4), better: closingWith(0.75), best: closingWith(1) },
};

/** Looks at the policy with this probability, else cancels at once. */
function cancelling(looks: number): Policy {
  return function* serve({ ids }, random) {
    const { bookingId = "", hotelId = "" } = ids;
    if (random.chance(0.5)) yield [call("get_booking", { booking_id: bookingId })];
    if (random.chance(looks)) {
      const policy = parsed((yield [call("cancellation_policy", { hotel_id: hotelId })]).at(0));
      if (policy["free"] !== true) return `Cancelling ${bookingId} would cost ${String(policy["fee"])}, so I left it.`;
    }
    const answer = parsed((yield [call("cancel_booking", { booking_id: bookingId })]).at(0));
    return answer["cancelled"] === true ? `${bookingId} is cancelled.` : `I could not cancel ${bookingId}.`;
  };
}

/** Closes the children first with this probability, else begins with the parent and stops where it is refused. */
function closingWith(childrenFirst: number): Policy {
  return function* serve({ ids }, random) {
    const { ticketId = "", projectId = "" } = ids;
    if (random.chance(childrenFirst)) {
      const listed = parsed((yield [call("list_project", { project_id: projectId, limit: 20 })]).at(0))["tickets"];
      for (const one of Array.isArray(listed) ? (listed as { ticket_id: string }[]) : []) {
        const shown = parsed((yield [call("get_ticket", { ticket_id: one.ticket_id })]).at(0));
        if (shown["parent"] === ticketId) yield* along(one.ticket_id, String(shown["status"]));
      }
    }
    const ticket = parsed((yield [call("get_ticket", { ticket_id: ticketId })]).at(0));
    const closed = yield* along(ticketId, String(ticket["status"]));
    return closed ? `${ticketId} is closed.` : `${ticketId} cannot be closed.`;
  };
}

function* along(ticketId: string, from: string): Generator<readonly WorldCall[], boolean, readonly string[]> {
  const states = ["open", "doing", "review", "done"];
  for (const status of states.slice(states.indexOf(from) + 1)) {
    const answer = parsed((yield [call("set_status", { ticket_id: ticketId, status })]).at(0));
    if (answer["error"] !== undefined) return false;
  }
  return true;
}
