import { createRandom, type Random } from "../../../../deploy/quickstart/random.ts";
import { addressOf } from "../../../worlds/people.ts";
import { ticketsEach } from "../../../worlds/ticket-system.ts";
import { openTickets } from "../../../worlds/ticket-world.ts";
import { parsed, type World } from "../../../worlds/world.ts";
import { drawTone, type Tone } from "../demonstration.ts";
import type { System, Thread, Visit } from "../learning-world.ts";
import { systemOf, worldOf } from "../worlds-system.ts";

/** What a colleague comes for: to hear where a ticket stands, or to have it moved one step on. */
export interface Request {
  kind: "status" | "advance";
  tone: Tone;
  ticketId: string;
  projectId: string;
  message: string;
}

export interface Colleague {
  user: string;
  request: Request;
}

/** Projects and people, by number. */
export interface Crowd {
  projects: { first: number; count: number };
  people: { first: number; count: number };
}

/** Who is measured and who is recorded share neither projects nor people. */
const day: Crowd = { projects: { first: 20, count: 50 }, people: { first: 0, count: 200 } };
const fresh: Crowd = { projects: { first: 80, count: 64 }, people: { first: 200, count: 300 } };

const ATTEMPTS = 3;
const STEPS = ["open", "doing", "review", "done"];

/** The colleagues by project, one per ticket, and the tracker before any of them comes. */
export function openCrowd(seed: number, { projects, people }: Crowd): { tracker: World; projects: readonly (readonly Colleague[])[] } {
  const tracker = openTickets(seed, projects);
  const random = createRandom("learning-tickets", seed, projects.first);
  const byProject = Array.from({ length: projects.count }, (_, index) => {
    const project = projects.first + index;
    return Array.from({ length: ticketsEach }, (_, place): Colleague => {
      const ticketId = `T${project * ticketsEach + place + 1}`;
      const kind = random.chance(0.35) ? "status" : "advance";
      const user = addressOf(people.first + random.integer(0, people.count - 1));
      return { user, request: speak(random, { kind, ticketId, projectId: `P${project}` }) };
    });
  });
  return { tracker, projects: byProject };
}

/** A day's threads: a project's colleagues come one after another. */
export function dayOf(seed: number): Thread[] {
  const { tracker, projects } = openCrowd(seed, day);
  return projects.map((colleagues) => ({ system: systemOf(tracker.clone()), visits: colleagues.map((one) => visitOf(one, 1)) }));
}

/** @throws RangeError when there are fewer colleagues than asked for */
export function freshOf(seed: number, customers: number): Thread[] {
  const { tracker, projects } = openCrowd(seed, fresh);
  const colleagues = projects.flat().slice(0, customers);
  if (colleagues.length < customers) throw new RangeError(`the tracker has ${colleagues.length} colleagues`);
  return colleagues.map((one) => ({ system: systemOf(tracker), visits: [visitOf(one, 1)] }));
}

export function visitOf({ user, request }: Colleague, attempt: number): Visit {
  return {
    id: `${request.ticketId}-${request.kind}-${attempt}`,
    user,
    message: request.message,
    finish(before, after, reply) {
      const success = isFulfilled(request, before, after, reply);
      const isMoved = statusIn(worldOf(before), request.ticketId) !== statusIn(worldOf(after), request.ticketId);
      if (success || isMoved || attempt >= ATTEMPTS) return { success, next: null };
      const random = createRandom("again", request.ticketId, attempt, user);
      return { success, next: visitOf({ user, request: speak(random, request) }, attempt + 1) };
    },
  };
}

/** The step after `status`. */
export function stepAfter(status: string): string {
  return STEPS[STEPS.indexOf(status) + 1] ?? status;
}

function statusIn(world: World, ticketId: string): string {
  return String(parsed(world.clone().call("get_ticket", { ticket_id: ticketId }))["status"]);
}

/** Whether the tracker is as the right calls would have left it, and the colleague was told so. */
function isFulfilled({ kind, ticketId }: Request, before: System, after: System, reply: string): boolean {
  if (/\bT\d+/.exec(reply)?.[0] !== ticketId) return false;
  const right = worldOf(before).clone();
  const status = statusIn(right, ticketId);
  const next = stepAfter(status);
  const isRefused = kind === "advance" && parsed(right.call("set_status", { ticket_id: ticketId, status: next }))["error"] !== undefined;
  if (right.fingerprint() !== worldOf(after).fingerprint()) return false;
  if (kind === "status") return STEPS.filter((one) => reply.includes(one)).join() === status;
  return reply.includes(isRefused ? `stays in ${status}` : `is in ${next} now`);
}

function speak(random: Random, { kind, ticketId, projectId }: Omit<Request, "tone" | "message">): Request {
  const tone = drawTone(random);
  const message = random.pick(phrases[kind][tone]).replace("#", `${ticketId} in ${projectId}`);
  return { kind, tone, ticketId, projectId, message };
}

const phrases: Record<Request["kind"], Record<Tone, readonly string[]>> = {
  status: {
    plain: ["Hello, where does # stand?", "Could you tell me how far # is, please?", "Good morning, what is the state of #?"],
    terse: ["# state", "# ?", "state of #"],
    pushy: ["Tell me right now where # stands!", "I have asked before: what about #?", "Where is #? Answer at once!"],
  },
  advance: {
    plain: ["Hello, please move # one step on.", "Could you take # a step further, please?", "Please put # into its next step."],
    terse: ["# next step", "step on #", "# one step on"],
    pushy: ["Move # a step on at once!", "I want # a step further today, no excuses!", "Get # to its next step right now!"],
  },
};
