import { cpus } from "node:os";
import { PRODUCTION, QUICKSTART, simulate, wilson, type World } from "./simulate.ts";
import type { CanaryParameters } from "../../../src/promotion/canary.ts";

/**
 * The large simulation behind the canary's promises: prints a table and, as the last line, its JSON.
 * `node test/bench/canary/bench.ts [runs]`
 */
const flat = (stable: number, candidate: number): World => ({ success: (arm) => (arm === "candidate" ? candidate : stable) });
/** A daily cycle of ±5 points at 2,000 trajectories a day, the same for both arms. */
const drifting = (stable: number, candidate: number): World => ({
  success: (arm, n) => (arm === "candidate" ? candidate : stable) + 0.05 * Math.sin((2 * Math.PI * n) / 2000),
});

const SCENARIOS: readonly { name: string; parameters: CanaryParameters; world: World; bar: string }[] = [
  { name: "quickstart +30", parameters: QUICKSTART, world: flat(0.55, 0.85), bar: "promoted >= .97" },
  { name: "quickstart +25", parameters: QUICKSTART, world: flat(0.6, 0.85), bar: "promoted >= .95" },
  { name: "quickstart 0", parameters: QUICKSTART, world: flat(0.6, 0.6), bar: "promoted <= .05" },
  { name: "quickstart -30", parameters: QUICKSTART, world: flat(0.85, 0.55), bar: "harm >= .97" },
  {
    name: "quickstart +30, 10 % missing",
    parameters: QUICKSTART,
    world: { ...flat(0.55, 0.85), missing: 0.1 },
    bar: "promoted, slower",
  },
  { name: "production identical, drift", parameters: PRODUCTION, world: drifting(0.7, 0.7), bar: "promoted >= .93" },
  { name: "production -5, drift", parameters: PRODUCTION, world: drifting(0.7, 0.65), bar: "promoted <= .05" },
  { name: "production -10, drift", parameters: PRODUCTION, world: drifting(0.7, 0.6), bar: "harm >= .98, promoted < .01" },
  {
    name: "production identical, router draws half too many",
    parameters: PRODUCTION,
    world: { ...flat(0.7, 0.7), share: (weight) => weight * 1.5 },
    bar: "rolled back",
  },
  {
    name: "production identical, candidate's tools fail twice as often",
    parameters: PRODUCTION,
    world: { ...flat(0.7, 0.7), badEvent: (arm) => (arm === "candidate" ? 0.2 : 0.1) },
    bar: "rolled back >= .8: the rest is promoted before enough has failed",
  },
];

const runs = Number(process.argv[2] ?? 1000);
const results = SCENARIOS.map(({ name, parameters, world, bar }) => {
  const summary = simulate(world, parameters, runs, 20_261_101);
  return { name, bar, ...summary, promotedInterval: wilson(summary.promoted, runs), harmInterval: wilson(summary.rolledBackForHarm, runs) };
});
const percent = (count: number) => `${((100 * count) / runs).toFixed(1)} %`.padStart(9);
for (const row of results) {
  const shares = [row.promoted, row.rolledBack, row.rolledBackForHarm, row.expired].map(percent).join("");
  process.stdout.write(`${row.name.padEnd(62)}${shares}  median ${String(row.medianUnits).padStart(5)}  (${row.bar})\n`);
}
const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, node: process.version };
process.stdout.write(`${JSON.stringify({ bench: "canary", machine, runs, results })}\n`);
