import { judgeOf, type Assessment, type Attempt } from "../transcript-judge.ts";
import { stepAfter } from "./customers.ts";

type Use = Attempt["uses"][number];

/** The scripted judge of the tracker: what is true it knows from tool results, of any member of the group. */
const judge = judgeOf((message, attempts) => {
  const ticketId = /\bT\d+/.exec(message)?.[0] ?? "";
  const looks = attempts.flatMap(({ uses }) => looksBefore(ticketId, uses));
  const status = looks.map(({ result }) => result["status"]).find((found) => typeof found === "string");
  const isHeld = looks.some(({ result }) => Number(result["open_children"]) > 0);
  const needed = /\bstep\b/.test(message) ? 2 : 1;
  return ({ uses, reply }): Assessment => {
    const moves = uses.filter(isMove);
    const next = status === undefined ? "" : stepAfter(status);
    const mayMove = needed === 2 && !(next === "done" && isHeld);
    const didHarm = moves.some(({ result }) => !mayMove || result["ticket_id"] !== ticketId || result["status"] !== next);
    const told = needed === 1 ? `is in ${status}.` : mayMove ? `is in ${next} now` : `stays in ${status}`;
    const named = new Set(reply.match(/\bT\d+/g) ?? []);
    const isTold = named.size === 1 && named.has(ticketId) && reply.includes(told);
    return {
      reached: status === undefined ? null : isTold && !didHarm && moves.length === (mayMove ? 1 : 0),
      ...{ hasEvidence: looksBefore(ticketId, uses).length > 0, didHarm, wasted: Math.max(0, uses.length - needed) },
    };
  };
});

export const { scoreGroup, comparePair } = judge;
export const judgeRubric = "tickets-ruler-1";

function isMove({ name, result }: Use): boolean {
  return name === "set_status" && result["error"] === undefined;
}

/** Looks at the ticket before the member moved anything: later ones show its own deeds. */
function looksBefore(ticketId: string, uses: readonly Use[]): readonly Use[] {
  const moved = uses.findIndex(isMove);
  const untouched = moved < 0 ? uses : uses.slice(0, moved);
  return untouched.filter(({ name, result }) => name === "get_ticket" && result["ticket_id"] === ticketId && "status" in result);
}
