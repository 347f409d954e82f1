import { describe, expect, it } from "vitest";
import { tapeIdOf } from "../../src/trajectory/record-tape.ts";
import { bookingsWorld } from "./bookings-world.ts";
import { byPerturbing, byPolicy, cascadeOf, compare, libraryOf, narrowed, nearestTapes } from "./compare.ts";
import { record } from "./record.ts";
import { shopWorld } from "./shop-world.ts";
import { coverageOf, report, wrongRecorded, type Tally } from "./tally.ts";
import { ticketWorld } from "./ticket-world.ts";

const CONVERSATIONS = 150;
const COMPARED = 60;
const CALLS = 10_000;

/** Bars that replay misses today, and why. Each turns red when it is mended, and is then taken out. */
const defects: Readonly<Record<string, string>> = {};

describe.each([[shopWorld], [bookingsWorld], [ticketWorld]])("the bars in the $name", (kind) => {
  const recorded = record(kind, { seed: 1, conversations: CONVERSATIONS });
  const library = libraryOf(kind, recorded);
  const all = cascadeOf(library);
  const some = recorded.slice(-COMPARED);
  const each = Math.ceil(CALLS / some.reduce((sum, { turns }) => sum + turns.flat().length, 0));
  const bar = (name: string, test: () => void): void => (Object.hasOwn(defects, `${kind.name}.${name}`) ? it.fails : it)(name, test, 60_000);
  const measured = (name: string, tally: Tally): Tally => {
    report(`${kind.name}, ${name}`, tally);
    return tally;
  };
  let replayed = 0;

  bar("nothing wrong at R0–R2, each call alone", () => {
    const tally = measured("each call alone", compare(kind, byPerturbing(kind, recorded, some, each), () => all));
    replayed = tally.calls;
    expect(wrongRecorded(tally)).toEqual([]);
  });

  bar("nothing wrong first at R0–R2, running free", () => {
    const tally = measured("running free", compare(kind, byPerturbing(kind, recorded, some, Math.ceil(each / 3)), () => all, "free"));
    expect(wrongRecorded(tally).filter(({ isFirst }) => isFirst)).toEqual([]);
  });

  bar("nothing wrong at R0–R2 with other luck", () => {
    expect(wrongRecorded(measured("other luck", compare(kind, byPolicy(kind, some, 4), () => all)))).toEqual([]);
  });

  bar("65 % of the calls with one tape", () => {
    const alone = (own: (typeof some)[number]) => new Set([tapeIdOf(own.trajectory)]);
    expect(coverageOf(measured("own tape", withTapes(alone)))).toBeGreaterThanOrEqual(0.65);
  });

  bar("80 % of the calls with three tapes", () => {
    expect(coverageOf(measured("three tapes", withTapes((own) => nearestTapes(recorded, own, 3))))).toBeGreaterThanOrEqual(0.8);
  });

  bar("nothing wrong at R0–R2 without any tool config", () => {
    const unknown = cascadeOf(libraryOf(kind, recorded, {}));
    const tally = measured("no tool config", compare(kind, byPerturbing(kind, recorded, some, 8), () => unknown));
    expect(wrongRecorded(tally)).toEqual([]);
    expect(tally.byRung.R1?.served ?? 0).toBeGreaterThan(100);
  });

  it("is measured on enough calls", () => {
    expect(replayed).toBeGreaterThanOrEqual(CALLS);
  });

  function withTapes(idsOf: (own: (typeof some)[number]) => ReadonlySet<string>): Tally {
    const few = some.slice(-COMPARED / 3);
    const cascades = new Map(few.map((own) => [own, cascadeOf(narrowed(library, idsOf(own)))]));
    return compare(kind, byPerturbing(kind, recorded, few, 6), (own) => cascades.get(own) ?? all);
  }
});

