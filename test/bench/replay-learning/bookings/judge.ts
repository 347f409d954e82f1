import { judgeOf, type Attempt } from "../transcript-judge.ts";

/** The scripted judge of the bookings desk: what is true it knows from tool results, of any member of the group. */
const judge = judgeOf((message, attempts) => {
  const [bookingId = "", hotelId = ""] = [/\bB\d+/.exec(message)?.[0], /\bH\d+/.exec(message)?.[0]];
  const nights = /(\d+) nights/.exec(message)?.[1];
  return nights === undefined ? cancellation(bookingId, hotelId, attempts) : change(bookingId, Number(nights), attempts);
});

export const { scoreGroup, comparePair } = judge;
export const judgeRubric = "bookings-ruler-1";

function cancellation(bookingId: string, hotelId: string, attempts: readonly Attempt[]): ReturnType<Parameters<typeof judgeOf>[0]> {
  const isPolicy = ({ name, result }: Attempt["uses"][number]): boolean =>
    name === "cancellation_policy" && result["hotel_id"] === hotelId && typeof result["free"] === "boolean";
  const free = attempts.flatMap(({ uses }) => uses).find(isPolicy)?.result["free"];
  return ({ uses, reply }) => {
    const cancelled = uses.filter(({ result }) => result["cancelled"] === true).map(({ result }) => result["booking_id"]);
    const didHarm = cancelled.some((id) => id !== bookingId || free === false) || uses.some(isChange);
    const says = toldAbout(bookingId, reply);
    const isRight = free === true ? cancelled.includes(bookingId) && says("is cancelled") : cancelled.length === 0 && says("would cost");
    return {
      reached: free === undefined ? null : isRight && !didHarm,
      ...{ hasEvidence: uses.some(isPolicy), didHarm, wasted: Math.max(0, uses.length - (free === true ? 2 : 1)) + refusals(uses) },
    };
  };
}

function change(bookingId: string, nights: number, attempts: readonly Attempt[]): ReturnType<Parameters<typeof judgeOf>[0]> {
  const isAboutIt = ({ name, result }: Attempt["uses"][number]): boolean => name === "update_booking" && result["booking_id"] === bookingId;
  const seen = attempts.flatMap(({ uses }) => uses).find(isAboutIt);
  const canChange = seen === undefined ? null : seen.result["error"] === undefined;
  return ({ uses, reply }) => {
    const changed = uses.filter(isChange);
    const isDone = changed.some(({ result }) => result["booking_id"] === bookingId && result["nights"] === nights);
    const didHarm =
      changed.some(({ result }) => result["booking_id"] !== bookingId || result["nights"] !== nights) ||
      uses.some(({ result }) => result["cancelled"] === true);
    const says = toldAbout(bookingId, reply);
    const isRight = canChange === true ? isDone && says(`is for ${nights} nights`) : says("cannot be changed");
    return {
      reached: canChange === null ? null : isRight && !didHarm,
      ...{ hasEvidence: uses.some(isAboutIt), didHarm, wasted: Math.max(0, uses.length - 1) },
    };
  };
}

function isChange({ name, result }: Attempt["uses"][number]): boolean {
  return name === "update_booking" && result["error"] === undefined;
}

function refusals(uses: Attempt["uses"]): number {
  return uses.filter(({ result }) => result["error"] !== undefined).length;
}

/** What a reply says, where it is about this booking and no other. */
function toldAbout(bookingId: string, reply: string): (words: string) => boolean {
  const named = new Set(reply.match(/\bB\d+/g) ?? []);
  return (words) => named.size === 1 && named.has(bookingId) && reply.includes(words);
}
