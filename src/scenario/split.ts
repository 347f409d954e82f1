import { hash } from "node:crypto";
import type { Trajectory } from "../trajectory/trajectory.ts";
import type { Split } from "./scenario.ts";

/** Whom a conversation belongs to; a conversation of nobody known stands for its own subject. */
export function subjectOf(trajectory: Pick<Trajectory, "subject" | "conversationId">): { subject: string; known: boolean } {
  return trajectory.subject === null
    ? { subject: `conversation:${trajectory.conversationId}`, known: false }
    : { subject: trajectory.subject, known: true };
}

/**
 * The side of the wall that a subject is on: a hash of salt (the tenant) and subject against the share. The same subject is on the same side every
 * night; raising the share only moves subjects from train to held-out.
 */
export function splitOf(subject: string, options: { salt: string; heldOutShare: number }): Split {
  const place = Number.parseInt(hash("sha256", `split|${options.salt}|${subject}`).slice(0, 13), 16) / 2 ** 52;
  return place < options.heldOutShare ? "held_out" : "train";
}
