import { statuses, type Status } from "./catalog.ts";

/** What a reply to a customer tells them, as a careful reader would take it. */
export interface Told {
  /** The one status that the reply names; null when it names none or several. */
  status: Status | null;
  /** `refunded`: the money is on its way; `refused`: it will not come; null: says neither, or both. */
  refund: "refunded" | "refused" | null;
  /** The one order that the reply is about; null when it names none or several. */
  orderId: string | null;
}

const refusal =
  /\b(cannot|can not|can't|could not|couldn't|unable|not|won't|will not)\b[^.]*\brefund(ed|s)?\b|\bno refund\b|\brefund(ed|s)?\b[^.]*\b(denied|declined|refused|rejected|impossible|not)\b/i;
const grant = /\b(refunded|refund (is|was|has been) (done|issued|made|complete))\b|\bissued (a|the|your) refund\b|\bmoney is on its way\b/i;

/** Reads a reply. Text that says two things at once tells nothing. */
export function readReply(reply: string): Told {
  const named = statuses.filter((status) => new RegExp(`\\b${status}\\b`, "i").test(reply));
  const orderIds = new Set(reply.match(/\bA\d+\b/g) ?? []);
  return {
    status: named.length === 1 ? named[0]! : null,
    refund: readRefund(reply),
    orderId: orderIds.size === 1 ? [...orderIds][0]! : null,
  };
}

/** Sentence by sentence, so that "It is not late. I have refunded it." is no refusal. */
function readRefund(reply: string): Told["refund"] {
  const told = new Set<"refunded" | "refused">();
  for (const sentence of reply.split(/[.!?]+/)) {
    if (refusal.test(sentence)) told.add("refused");
    else if (grant.test(sentence)) told.add("refunded");
  }
  return told.size === 1 ? [...told][0]! : null;
}
