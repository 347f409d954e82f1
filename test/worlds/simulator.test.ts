import { beforeAll, describe, expect, it } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createOffTape, type OffTape } from "../../src/rollout/off-tape.ts";
import { createSimulator } from "../../src/rollout/simulator/simulator.ts";
import { tapeIdOf } from "../../src/trajectory/record-tape.ts";
import { createScriptedLlm, render } from "../rollout/scripted-llm.ts";
import { bookingsWorld } from "./bookings-world.ts";
import { cascadeOf, libraryOf, narrowed } from "./compare.ts";
import { simulationsOf, type Simulations } from "./false-success.ts";
import type { Recorded } from "./conversation.ts";
import { record } from "./record.ts";
import { shopWorld } from "./shop-world.ts";

const CONVERSATIONS = 120;
const PLAYED = 30;

describe.each([[shopWorld], [bookingsWorld]])("simulating the $name", (kind) => {
  let recorded: readonly Recorded[];
  let measured: ReadonlyMap<string, Simulations>;
  beforeAll(async () => {
    // One at a time and nobody in the background: every difference is the simulator's.
    recorded = record(kind, { seed: 4, conversations: CONVERSATIONS, open: 1, background: 0 });
    const llm = createScriptedLlm(render);
    const offTape: OffTape = createOffTape(kind.name, {
      simulator: createSimulator({ llm, model: "scripted" }, { log: silentLog() }),
      liveReads: null,
      user: null,
    });
    const library = libraryOf(kind, recorded);
    const all = cascadeOf(library);
    report(
      `${kind.name}, with its own tape`,
      await simulationsOf(kind, recorded.slice(-PLAYED), { cascadeFor: () => all, offTape, attempts: 2 }),
    );
    // Without the tape of its own conversation nothing is told of its entities but by others: most calls are beyond the tapes.
    const cascadeFor = (own: Recorded) =>
      cascadeOf(narrowed(library, new Set(library.tapes.map(({ id }) => id).filter((id) => id !== tapeIdOf(own.trajectory)))));
    measured = await simulationsOf(kind, recorded.slice(-PLAYED), { cascadeFor, offTape, attempts: 2 });
    report(`${kind.name}, without`, measured);
  });

  it("says of every tool how often a failure passed for a success", () => {
    const all = [...measured.values()];
    expect(all.reduce((sum, { served }) => sum + served, 0)).toBeGreaterThan(20);
    for (const { served, errors, falseSuccesses } of all) expect(falseSuccesses).toBeLessThanOrEqual(Math.min(errors, served));
  });

  it("never simulates what nobody declared, and executes nothing", () => {
    const declared = Object.entries(kind.toolConfigs).filter(([, { class: cls }]) => cls === "read" || cls === "write");
    expect(declared.map(([tool]) => tool)).toEqual(expect.arrayContaining([...measured.keys()]));
    // The worlds that were recorded are asked only as copies.
    const before = recorded.reduce((sum, one) => sum + one.before.counters().calls, 0);
    const again = record(kind, { seed: 4, conversations: CONVERSATIONS, open: 1, background: 0 });
    expect(before).toBe(again.reduce((sum, one) => sum + one.before.counters().calls, 0));
  });
});

/** Printed with every run: what a given tool's simulation is worth no bar can promise for somebody else's tools. */
function report(name: string, measured: ReadonlyMap<string, Simulations>): void {
  for (const [tool, { served, errors, falseSuccesses, falseErrors, equal }] of [...measured].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const rate = errors === 0 ? "none to tell" : `${((100 * falseSuccesses) / errors).toFixed(0)} %`;
    process.stdout.write(
      `${name} ${tool}: ${served} simulated, ${equal} as the world; ${errors} real errors, false success ${falseSuccesses} (${rate}); false errors ${falseErrors}\n`,
    );
  }
}
