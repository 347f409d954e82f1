/**
 * The quickstart's scripted judges. They read transcripts only and never see the shop's state: what is true they know from tool results,
 * of any member of the group. They stand in for an LLM judge and are labelled as scripted wherever a number of theirs is shown.
 */
import { poolFacts, readAsk, readDeeds, type Ask, type Deeds, type Facts, type JudgedMember } from "./evidence.ts";

export const judgeRubric = "shop-support-ruler-1";
export const pairRubric = "shop-support-outcome-1";

/**
 * Scores in [0, 1], comparative, in the order of `members`; null for a masked member. Reaching the goal stands far above not reaching it;
 * then doing it with evidence above doing it blindly, fewer calls above more; without the goal there is a little credit for progress.
 */
export function scoreGroup(members: readonly JudgedMember[]): (number | null)[] {
  const shown = members.filter(({ end }) => end.status !== "masked");
  const ask = readAsk(shown);
  const facts = poolFacts(ask, shown);
  return members.map((member) => (member.end.status === "masked" ? null : score(ask, facts, readDeeds(ask, facts, member))));
}

/** Why a member got its score, in a few words for the page; same order as `scoreGroup`. */
export function explainGroup(members: readonly JudgedMember[]): (string | null)[] {
  const shown = members.filter(({ end }) => end.status !== "masked");
  const ask = readAsk(shown);
  const facts = poolFacts(ask, shown);
  return members.map((member) => (member.end.status === "masked" ? null : explain(ask, facts, readDeeds(ask, facts, member))));
}

/**
 * 1: `a` reached the goal and `b` did not; 0: the other way; ½: both or neither. Nothing but the outcome counts,
 * and what neither transcript proves counts as not reached. `comparePair(a, b) + comparePair(b, a)` is always 1.
 */
export function comparePair(a: JudgedMember, b: JudgedMember): 0 | 0.5 | 1 {
  const ask = readAsk([a]);
  const facts = poolFacts(ask, [a, b]);
  const reached = [a, b].map((member) => goalReached(ask, facts, readDeeds(ask, facts, member)) === true);
  if (reached[0] === reached[1]) return 0.5;
  return reached[0] ? 1 : 0;
}

function score(ask: Ask, facts: Facts, deeds: Deeds): number {
  const needed = callsNeeded(ask, facts);
  const effort = 0.02 * Math.min(5, Math.max(0, deeds.toolCalls - needed) + deeds.toolErrors);
  const reached = goalReached(ask, facts, deeds);
  if (reached === true) return round(hasEvidence(ask, deeds) ? 1 - effort : 0.75);
  const harm = [...deeds.paidBack].some((orderId) => orderId !== ask.orderId) || (reached === false && paidWrongly(ask, facts, deeds));
  const progress = (deeds.lookedUp ? 0.1 : 0) + (deeds.checkedPolicy ? 0.1 : 0);
  return round(Math.max(0, 0.1 + progress - (harm ? 0.1 : 0) - effort / 2));
}

function explain(ask: Ask, facts: Facts, deeds: Deeds): string {
  const reached = goalReached(ask, facts, deeds);
  if (reached === null) return "nothing shown proves what is right";
  if (reached) return hasEvidence(ask, deeds) ? "goal reached, with evidence" : "goal reached, without looking";
  if (ask.kind === "status") return deeds.lookedUp ? "wrong status told" : "status told without looking";
  if (paidWrongly(ask, facts, deeds)) return "paid back against the policy";
  return refundAllowed(facts) && !deeds.paidBack.has(ask.orderId ?? "") ? "a due refund was not paid" : "wrong reply";
}

/** Null where no member's tool results show what would have been right. */
function goalReached(ask: Ask, facts: Facts, { told, paidBack }: Deeds): boolean | null {
  if (ask.orderId === null) return null;
  if (ask.kind === "status") return facts.status === null ? null : told.orderId === ask.orderId && told.status === facts.status;
  const allowed = refundAllowed(facts);
  if (allowed === null) return null;
  const refunded = facts.alreadyRefunded || paidBack.has(ask.orderId);
  return refunded === allowed && told.orderId === ask.orderId && told.refund === (allowed ? "refunded" : "refused");
}

function refundAllowed({ item, ageDays, refundDays }: Facts): boolean | null {
  const days = item === null ? undefined : refundDays.get(item);
  return ageDays === null || days === undefined ? null : ageDays <= days;
}

function paidWrongly(ask: Ask, facts: Facts, { paidBack }: Deeds): boolean {
  if (ask.orderId === null || !paidBack.has(ask.orderId)) return false;
  return ask.kind === "status" || refundAllowed(facts) === false;
}

function hasEvidence(ask: Ask, { lookedUp, checkedPolicy }: Deeds): boolean {
  return lookedUp && (ask.kind === "status" || checkedPolicy);
}

function callsNeeded(ask: Ask, facts: Facts): number {
  if (ask.kind === "status") return 1;
  return refundAllowed(facts) && !facts.alreadyRefunded ? 3 : 2;
}

/** Two decimals: scores are compared for equality downstream. */
function round(value: number): number {
  return Math.round(value * 100) / 100;
}
