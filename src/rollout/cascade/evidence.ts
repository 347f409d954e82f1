import type { Tape } from "../../trajectory/tape.ts";

/** Conversations that speak for a rule about tools, and against it. What one conversation shows again and again is one observation. */
export interface Evidence {
  for: Set<string>;
  against: Set<string>;
}

/** Conversations that outweigh a single odd one: it is then surely less than 5 % of them (Clopper–Pearson, one-sided 95 %). */
const OUTWEIGHING = 92;

/** Notes under `key` what a tape shows of a rule. */
export function addEvidence(record: Map<string, Evidence>, key: string, { conversationId }: Tape, isFor: boolean): void {
  const evidence = record.get(key) ?? { for: new Set(), against: new Set() };
  record.set(key, evidence);
  (isFor ? evidence.for : evidence.against).add(conversationId);
}

/** Whether at least so many conversations speak for it, and none against it that counts. */
export function isShown(evidence: Evidence | undefined, least: number): boolean {
  return evidence !== undefined && evidence.for.size >= least && !isRefuted(evidence);
}

/** Whether conversations speak against it: one alone does, until many outweigh it. */
export function isRefuted(evidence: Evidence | undefined): boolean {
  if (evidence === undefined || evidence.against.size === 0) return false;
  return evidence.against.size > 1 || evidence.for.size < OUTWEIGHING;
}

/** Share of conversations against a rule above which it is not gone by where nothing speaks for it otherwise. */
const MAX_DOUBT = 0.05;

/** Whether more than a few of the conversations speak against it. */
export function isDoubted(evidence: Evidence | undefined): boolean {
  if (evidence === undefined) return false;
  return evidence.against.size > MAX_DOUBT * (evidence.for.size + evidence.against.size);
}
