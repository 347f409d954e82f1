import { createHash } from "node:crypto";
import { createLimiter } from "../../../src/limiter.ts";
import type { AgentConfig } from "../../../src/config.ts";
import type { LearningWorld } from "./learning-world.ts";
import type { OutcomeFile } from "./outcome-file.ts";
import { configOf } from "./settings.ts";
import { learnSuccesses } from "./sft.ts";
import type { Stand } from "./stand.ts";
import { measure, recordDay, trueSession, type RecordedVisit } from "./traffic.ts";

/** How one adapter comes about. `shuffled` (rewards) and `sft` (successes as examples) are controls; `warm` and `pairs` are `replay` with other stages. */
export const ARMS = ["replay", "truth", "shuffled", "sft", "warm", "pairs"] as const;
export type Arm = (typeof ARMS)[number];

export const CUSTOMERS = 320;
/** The measured customers and their draws are the same for every seed and arm. */
const EVALUATION_SEED = 424_242;

/** One world's starting policy on its stand. */
export interface Ground {
  world: LearningWorld;
  stand: Stand;
  python: string;
  directory: string;
  baseModel: string;
  /** Of the SFT control. */
  learningRate: number;
  /** Measurements of earlier runs with the same settings are taken from here. */
  outcomes: OutcomeFile;
}

/** Success of every measured customer. */
export type Outcomes = readonly boolean[];

const limiter = createLimiter(96);

/** Success of the starting policy. */
export async function playStart(ground: Ground): Promise<Outcomes> {
  const key = keyOf(ground, 0, "start");
  const known = ground.outcomes.find(key);
  if (known !== null) return known;
  const outcomes = await successOf(ground, null);
  ground.outcomes.keep({ ...key, outcomes });
  return outcomes;
}

/** A day of the starting policy's traffic, and what each arm makes of it. */
export async function playSeed(
  ground: Ground,
  seed: number,
  arms: readonly Arm[],
  say: (line: string) => void,
): Promise<Partial<Record<Arm, Outcomes>>> {
  const { world, stand } = ground;
  const name = `${world.name}, seed ${seed}`;
  const outcomes: Partial<Record<Arm, Outcomes>> = {};
  let day: readonly RecordedVisit[] | null = null;
  for (const arm of arms) {
    const key = keyOf(ground, seed, arm);
    const known = ground.outcomes.find(key);
    if (known !== null) {
      outcomes[arm] = known;
      say(`${name}: ${arm} ${percent(known)} (measured before)`);
      continue;
    }
    if (day === null) {
      day = await recordDay(world, world.day(seed), { policyServer: stand.policyServer, model: world.agent, seed, limiter });
      say(`${name}: ${day.length} conversations, ${day.filter(({ success }) => success).length} of them helped`);
    }
    const began = performance.now();
    const success = await successOf(ground, await learn(ground, arm, seed, day));
    outcomes[arm] = success;
    ground.outcomes.keep({ ...key, outcomes: success });
    say(`${name}: ${arm} ${percent(success)} (${((performance.now() - began) / 1000).toFixed(0)} s)`);
  }
  return outcomes;
}

/** Success with every one of the same customers, that no day has. `model` null: the starting policy. */
function successOf({ world, stand }: Ground, model: string | null): Promise<Outcomes> {
  const answering = { policyServer: stand.policyServer, model: model ?? world.agent, seed: EVALUATION_SEED, limiter };
  return measure(world, world.fresh(EVALUATION_SEED, CUSTOMERS), answering);
}

/** What decides a measurement, apart from the code. */
function keyOf({ world, baseModel, directory, learningRate, stand }: Ground, seed: number, arm: Arm | "start") {
  const { night, scenario, replay, tools } = configOf(world, { baseModel, dataDir: directory, seed });
  const asked = [seed === 0 ? [] : world.day(seed), world.fresh(EVALUATION_SEED, CUSTOMERS)].map((threads) =>
    threads.flatMap(({ visits }) => visits.map(({ id, message }) => [id, message])),
  );
  const decides = [stand.baseDigest, asked, night, scenario, replay, tools, arm === "sft" ? learningRate : null];
  const settings = createHash("sha256").update(JSON.stringify(decides)).digest("hex").slice(0, 12);
  return { world: world.name, settings, seed, arm };
}

/** The served name of what an arm learned; null where it learned nothing. */
async function learn(ground: Ground, arm: Arm, seed: number, day: readonly RecordedVisit[]): Promise<string | null> {
  const { world, stand, directory, baseModel, python, learningRate } = ground;
  const runId = `${world.name}-${arm}-${seed}`;
  const config = configOf(world, { baseModel, dataDir: directory, seed });
  if (arm === "sft") return stand.serve(runId, await learnSuccesses(day, { config, python, directory, name: runId, learningRate }));
  const trajectories = day.map(({ trajectory }) => trajectory);
  const systems = new Map(day.map(({ trajectory, before }) => [trajectory.id, before]));
  return stand.night({
    ...{ runId, trajectories },
    config: { ...config, night: { ...config.night, ...CHANGES[arm]?.(config.night) } },
    ...(arm !== "truth"
      ? {}
      : {
          openTools({ scenario }) {
            const before = systems.get(scenario.trajectoryId);
            if (before === undefined) throw new Error(`nobody recorded ${scenario.trajectoryId}`);
            return trueSession(before.clone());
          },
        }),
  });
}

/** What an arm's night has that the one on replay has not. Rates are that one's: Adam moves a weight by about the rate. */
const CHANGES: { [arm in Arm]?: (night: AgentConfig["night"]) => Partial<AgentConfig["night"]> } = {
  shuffled: () => ({ sabotage: "shuffle_rewards" }),
  warm: ({ sft, learningRate }) => ({ stages: ["sft", "grpo"], sft: { ...sft, learningRate } }),
  pairs: ({ dpo, learningRate }) => ({ stages: ["dpo"], dpo: { ...dpo, learningRate } }),
};

export function rateOf(outcomes: Outcomes): number {
  return outcomes.filter(Boolean).length / outcomes.length;
}

export function percent(outcomes: Outcomes): string {
  return `${(100 * rateOf(outcomes)).toFixed(1)} %`;
}
