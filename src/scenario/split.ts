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
  return hashedShare("split", options.salt, subject) < options.heldOutShare ? "held_out" : "train";
}

/** A number in [0, 1) that depends on the three and nothing else. */
export function hashedShare(purpose: string, salt: string, of: string): number {
  return Number.parseInt(hash("sha256", `${purpose}|${salt}|${of}`).slice(0, 13), 16) / 2 ** 52;
}
