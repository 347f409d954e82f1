import { describe, expect, it } from "vitest";
import { learnProfiles } from "../../src/trajectory/learn-profiles.ts";
import { tapeOf } from "../../src/trajectory/record-tape.ts";
import { withEras } from "../../src/trajectory/era.ts";
import { bookingsTraps } from "./bookings-traps.ts";
import { bookingsWorld } from "./bookings-world.ts";
import { cascadeOf, compare, scripted } from "./compare.ts";
import type { Recorded } from "./conversation.ts";
import { naiveReplay } from "./naive.ts";
import { asServed, mapTexts } from "./names.ts";
import type { Turns } from "./perturb.ts";
import { record, staged } from "./record.ts";
import { ticketTraps } from "./ticket-traps.ts";
import { ticketWorld } from "./ticket-world.ts";
import type { TrapScript } from "./traps.ts";

const SEED = 1;
const worlds = [
  { kind: bookingsWorld, scripts: bookingsTraps(bookingsWorld.create(SEED)) },
  { kind: ticketWorld, scripts: ticketTraps(ticketWorld.create(SEED)) },
];
describe.each(worlds)("the traps of the $kind.name", ({ kind, scripts }) => {
  // Classes are learned from ordinary traffic; the scripts are too short to teach anything.
  const traffic = record(kind, { seed: SEED, conversations: 200 }).map(({ trajectory }) => trajectory);

  it("are all scripted", () => {
    expect([...new Set(scripts.map(({ trap }) => trap))].sort()).toEqual(Object.keys(kind.traps).sort());
  });

  it.each(scripts)("$trap $how: a naive replay serves something wrong", (script) => {
    const { recorded, one, turns } = stage(script);
    expect(naiveReplay(kind, recorded, one, turns).wrong).not.toEqual([]);
  });

  for (const script of scripts) {
    it(`${nameOf(script)}: replay serves nothing wrong from a tape`, () => {
      const { recorded, one, turns } = stage(script);
      const trajectories = recorded.map(({ trajectory }) => trajectory);
      const profiles = learnProfiles(kind.toolConfigs, [...traffic, ...trajectories]);
      const tapes = withEras(trajectories.map((trajectory) => tapeOf(trajectory, { profiles, split: "train" })));
      const tally = compare(kind, [{ one, seed: 0, run: scripted(turns) }], () => cascadeOf({ profiles, tapes }), "free");
      // What nobody recorded, no rule can know: R3 is measured there, not promised (bars.test.ts).
      const promised = script.trap === "background" ? ["R0", "R1", "R2"] : ["R0", "R1", "R2", "R3", "agent_error"];
      expect(tally.wrong.filter(({ rung }) => promised.includes(rung))).toEqual([]);
    });
  }

  function nameOf({ trap, how }: TrapScript): string {
    return [kind.name, trap, ...(how === undefined ? [] : [how])].join(".");
  }

  function stage(script: TrapScript): { recorded: readonly Recorded[]; one: Recorded; turns: Turns } {
    const recorded = staged(kind, SEED, script.stages);
    const one = recorded.at(-1) as Recorded;
    return { recorded, one, turns: script.attempt.map((call) => [mapTexts(call, (text) => asServed(one.names, text))]) };
  }
});
