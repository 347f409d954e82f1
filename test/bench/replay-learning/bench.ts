/**
 * Does a night on replay teach what the same night in the true environment teaches? `npm run bench -- replay-learning [--worlds shop,bookings] [--seeds 8]
 * [--arms replay,truth,shuffled,sft,warm,pairs] [--outcomes FILE]`. Per world and seed: a day of the starting policy's traffic, one night whose tool calls are answered from its tapes, one whose
 * calls are executed in the world as each conversation found it, and both adapters' success there with 320 customers that neither has met. Everything else is the same.
 */
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { scratchDirectory } from "../machine.ts";
import { ARMS, CUSTOMERS, percent, playSeed, playStart, rateOf, type Arm, type Outcomes } from "./arms.ts";
import type { LearningWorld } from "./learning-world.ts";
import { modelOf } from "./model/build.ts";
import { openOutcomes } from "./outcome-file.ts";
import { configOf, ROOT } from "./settings.ts";
import { openStand } from "./stand.ts";
import { conclude, lowerEnd, RHO, type Conclusion } from "./statistics.ts";
import { worldNamed, worlds } from "./worlds.ts";

const { values } = parseArgs({
  options: {
    worlds: { type: "string", default: Object.keys(worlds).join(",") },
    seeds: { type: "string", default: "8" },
    "first-seed": { type: "string", default: "1" },
    arms: { type: "string", default: "replay,truth" },
    // JSON lines of what was measured, kept as it is measured; what is there already is not measured again.
    outcomes: { type: "string" },
    // Of the SFT control; the best of those that were tried on seeds of their own.
    "sft-rate": { type: "string", default: "0.002" },
  },
});
const arms = ARMS.filter((arm) => values.arms.split(",").includes(arm));
const seeds = Array.from({ length: Number(values.seeds) }, (_, index) => index + Number(values["first-seed"]));
const python = join(ROOT, ".venv/bin/python");
const outcomes = openOutcomes(values.outcomes ?? null);
const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, node: process.version };

/** A seed's outcomes by arm. */
type Played = { seed: number; outcomes: Partial<Record<Arm, Outcomes>> };

const measured = [];
for (const name of values.worlds.split(",")) measured.push(await measureWorld(worldNamed(name)));
process.stdout.write(`${JSON.stringify({ bench: "replay-learning", rho: RHO, worlds: measured })}\n`);

async function measureWorld(world: LearningWorld): Promise<unknown> {
  const directory = scratchDirectory();
  const baseModel = await modelOf(world, { python, say });
  const config = configOf(world, { baseModel, dataDir: directory, seed: 1 });
  const stand = await openStand({ agent: world.agent, config, directory, python, servers: 2 });
  try {
    const ground = { world, stand, python, directory, baseModel, learningRate: Number(values["sft-rate"]), outcomes };
    const start = await playStart(ground);
    say(`${world.name}: start ${percent(start)} of ${CUSTOMERS} customers`);
    const played: Played[] = [];
    for (const seed of seeds) played.push({ seed, outcomes: await playSeed(ground, seed, arms, say) });
    return concluded(world, start, played);
  } finally {
    await stand.close();
  }
}

function concluded(world: LearningWorld, start: Outcomes, played: readonly Played[]): unknown {
  const pairs = played.flatMap(({ seed, outcomes: { replay, truth } }) =>
    replay === undefined || truth === undefined ? [] : [{ seed, start, inTruth: truth, onReplay: replay }],
  );
  const conclusion = pairs.length < 2 ? { seeds: played.length, scenarios: CUSTOMERS, start: rateOf(start) } : conclude(pairs);
  if ("ratio" in conclusion) report(world, conclusion);
  const gains = (arm: Arm): number[] =>
    played.flatMap(({ outcomes }) => (outcomes[arm] === undefined ? [] : [rateOf(outcomes[arm]) - rateOf(start)]));
  const [shuffled, sft] = [gains("shuffled"), gains("sft")];
  if (shuffled.length > 0) say(`shuffled rewards gained ${shuffled.map(points).join(", ")} points (bar: 2 on average)`);
  if (sft.length > 0) say(`successes as examples (SFT) gained ${sft.map(points).join(", ")} points`);
  for (const [arm, what] of [
    ["warm", "an iteration of SFT before GRPO"],
    ["pairs", "DPO in place of GRPO"],
  ] as const) {
    if (gains(arm).length > 0) say(`${what} gained ${gains(arm).map(points).join(", ")} points`);
  }
  const beyondSft = played.flatMap(({ outcomes: { replay, sft: taught } }) =>
    replay === undefined || taught === undefined ? [] : [rateOf(replay) - rateOf(taught)],
  );
  const overSft = beyondSft.length > 1 ? lowerEnd(beyondSft) : null;
  if (overSft !== null) say(`replay gained ${points(overSft.mean)} points more than SFT, lower end at 90 %: ${points(overSft.lower)}`);
  const perSeed = played.map(({ seed, outcomes }) => ({
    seed,
    ...Object.fromEntries(Object.entries(outcomes).map(([arm, success]) => [arm, rateOf(success)])),
  }));
  return { world: world.name, machine, ...conclusion, perSeed, ...(overSft === null ? {} : { overSft }) };
}

function report(
  world: LearningWorld,
  { start, inTruth, onReplay, ratio, ratioInterval, difference, isInformative, isVerified }: Conclusion,
): void {
  say("");
  say(`${world.name}: start ${points(start)} %, true environment ${points(inTruth)} %, replay ${points(onReplay)} %`);
  say(
    `replay reached ${points(ratio)} % of the true gain (95 % interval ${points(ratioInterval[0])} to ${points(ratioInterval[1])} %, seeds and customers resampled)`,
  );
  say(`D = replay's gain - ${RHO} x true gain: ${points(difference.mean)} points, lower end at 90 %: ${points(difference.lower)}`);
  say(isVerified ? "verified" : isInformative ? "NOT verified" : "says nothing: the true night must gain 15 points and stay below 95 %");
}

function points(value: number): string {
  return (100 * value).toFixed(1);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
