import { describe, expect, it } from "vitest";
import type { Cascade } from "../../src/rollout/cascade/cascade.ts";
import type { Rung } from "../../src/rollout/group.ts";
import { lowerBound, upperBound } from "../../src/rollout/measure/binomial.ts";
import { tapeIdOf } from "../../src/trajectory/record-tape.ts";
import { bookingsWorld } from "./bookings-world.ts";
import { byPolicy, cascadeOf, compare, libraryOf, nearestTapes } from "./compare.ts";
import { record } from "./record.ts";
import { shopWorld } from "./shop-world.ts";
import { report, wrongRecorded, type Tally } from "./tally.ts";
import { ticketWorld } from "./ticket-world.ts";
import type { WorldKind } from "./world.ts";

const CONVERSATIONS = 150;
const COMPARED = 30;
const ATTEMPTS = 6;
const RECORDINGS = 3;
/** Luck: what is recorded, in which world, and what the attempts do. */
const SEEDS = [1, 13, 31];

/** Upper ends of the 95 % intervals for what other recordings and derivations got wrong, and for real errors that passed for successes, as measured. */
const limits: Readonly<Record<string, { wrong: number; falseSuccesses: number }>> = {
  // 5 of 195, and 4 of 75.
  shop: { wrong: 0.054, falseSuccesses: 0.118 },
  // 69 of 426, most of them rooms that count their hotel's free ones; and 13 of 100.
  bookings: { wrong: 0.195, falseSuccesses: 0.199 },
  // 6 of 180, and 9 of 57.
  tickets: { wrong: 0.065, falseSuccesses: 0.26 },
};

// A deployment's first days: nothing is known of tools but what three conversations show, and most of what changes the world was recorded by nobody.
describe.each([[shopWorld], [bookingsWorld], [ticketWorld]])("the $name where three recordings are all there is", (kind) => {
  let played: Tally | undefined;
  const tally = (): Tally => (played ??= playAlone(kind));
  const counted = (...rungs: readonly Rung[]): { wrong: number; served: number; doubted: number } => {
    const counts = rungs.flatMap((rung) => tally().byRung[rung] ?? []);
    const sum = (of: "wrong" | "served" | "doubted"): number => counts.reduce((all, count) => all + count[of], 0);
    return { wrong: sum("wrong"), served: sum("served"), doubted: sum("doubted") };
  };

  it("answers nothing wrong from its own recording", () => {
    expect(wrongRecorded(tally())).toEqual([]);
    expect(counted("R1", "R2").served).toBeGreaterThan(300);
  }, 60_000);

  it.each<[Rung]>([["R3"], ["R4"]])("is not surely wrong at %s more often than its own confidence says", (rung) => {
    const { wrong, served, doubted } = counted(rung);
    expect(lowerBound(wrong, served) * served).toBeLessThanOrEqual(doubted);
  });

  it("blames the agent for a key that the world knows only where it doubts that", () => {
    const wrong = tally().wrong.filter(({ rung }) => rung === "agent_error");
    expect(wrong.filter(({ confidence }) => confidence >= 0.5)).toEqual([]);
  });

  it("is wrong at R3 and R4, and says success for an error, no oftener than was measured", () => {
    const { wrong, served } = counted("R3", "R4");
    expect(upperBound(wrong, served)).toBeLessThanOrEqual(limits[kind.name]?.wrong ?? 0);
    const writes = Object.values(tally().writes);
    const errors = writes.reduce((all, { realErrors }) => all + realErrors, 0);
    const passed = writes.reduce((all, { falseSuccesses }) => all + falseSuccesses, 0);
    expect(upperBound(passed, errors)).toBeLessThanOrEqual(limits[kind.name]?.falseSuccesses ?? 0);
  });
});

/** Other attempts at tasks that were recorded again and again, of each of which its own recording and the two most like it are kept. */
function playAlone(kind: WorldKind): Tally {
  const cascades = new Map<unknown, Cascade>();
  const attempts = SEEDS.flatMap((seed) => {
    const all = record(kind, { seed, conversations: CONVERSATIONS, tasks: CONVERSATIONS / 5 });
    const some = all.slice(-COMPARED);
    for (const own of some) {
      const kept = nearestTapes(all, own, RECORDINGS);
      cascades.set(
        own,
        cascadeOf(
          libraryOf(
            kind,
            all.filter(({ trajectory }) => kept.has(tapeIdOf(trajectory))),
          ),
        ),
      );
    }
    return byPolicy(kind, some, ATTEMPTS);
  });
  const tally = compare(kind, attempts, (own) => cascades.get(own) as Cascade);
  report(`${kind.name}, three recordings alone`, tally);
  return tally;
}
