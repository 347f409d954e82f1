export type Winner = "first" | "second" | "tie";

/**
 * Two comparisons of one pair, with the slots swapped, as one count seen from the candidate. It counts 1 or 0 only if both orders agree; a judge that prefers a slot
 * contradicts itself and gives ½. Pure.
 */
export function combineOrders(orders: { candidateFirst: Winner; stableFirst: Winner }): {
  x: 0 | 0.5 | 1;
  firstSlotWins: 0 | 1 | 2;
  ordersAgree: boolean;
} {
  const { candidateFirst, stableFirst } = orders;
  const seenFromCandidate: Record<Winner, Winner> = { first: "second", second: "first", tie: "tie" };
  const ordersAgree = candidateFirst === seenFromCandidate[stableFirst];
  const wins = [candidateFirst, stableFirst].filter((winner) => winner === "first").length;
  const firstSlotWins = wins === 0 ? 0 : wins === 1 ? 1 : 2;
  if (!ordersAgree || candidateFirst === "tie") return { x: 0.5, firstSlotWins, ordersAgree };
  return { x: candidateFirst === "first" ? 1 : 0, firstSlotWins, ordersAgree };
}
