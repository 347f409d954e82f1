import { createLimiter } from "../../../src/limiter.ts";
import type { Rollout } from "../../../src/rollout/group.ts";
import { rolloutPatiently } from "../../../src/rollout/patience.ts";
import type { Scenario } from "../../../src/scenario/scenario.ts";
import { selectScenarios } from "../../../src/scenario/select.ts";
import { trustOfRun } from "../../../src/training/night-fidelity.ts";
import type { ShopStand } from "./shop-stand.ts";

/** A policy that plays every scenario once. */
export interface Arm {
  name: string;
  digest: string;
  /** Arms with the same number draw from the same seeds. */
  draws: number;
}

export interface HeldOut {
  scenarios: number;
  /** Scenarios in which replay or the infrastructure masked an arm: they say nothing. */
  masked: number;
  /** The others, with the rewards in the order of the arms. */
  rewarded: readonly { subject: string; rewards: readonly number[] }[];
}

/** What every arm earns with customers that trained nothing: production's sampling, held-out tapes, and what the night's judge asks, over all arms of a scenario beside one another. */
export async function playHeldOut(stand: ShopStand, runId: string, arms: readonly Arm[]): Promise<HeldOut> {
  const { selection } = stand.recordings();
  const { heldOut } = selectScenarios({ ...selection, count: 0, heldOutCount: Number.MAX_SAFE_INTEGER, seed: stand.config.night.seed });
  const play = await player(stand, runId);
  const played = await Promise.all(
    heldOut.map(async (scenario) => {
      const members = (await Promise.all(arms.map((arm) => play(scenario, arm)))).flat();
      const rewards = members.some(({ end }) => end.status === "masked") ? [] : stand.judging.scoreGroup(members);
      return { subject: scenario.subject, rewards: rewards.filter((reward) => reward !== null) };
    }),
  );
  const rewarded = played.filter(({ rewards }) => rewards.length === arms.length);
  return { scenarios: heldOut.length, masked: heldOut.length - rewarded.length, rewarded };
}

async function player({ config, recordings, fleet, deps }: ShopStand, runId: string) {
  const limiter = createLimiter(config.replay.concurrency);
  const cascade = recordings().cascade("held_out", await trustOfRun(deps.runs, runId));
  return async (scenario: Scenario, { name, digest, draws }: Arm): Promise<readonly Rollout[]> => {
    const { members } = await rolloutPatiently(
      {
        ...{ scenario: { ...scenario, mode: "loop" }, cascade, policyServer: fleet.policyServer, model: name, adapterDigest: digest },
        ...{ runId: `${runId}-held-out`, groupSize: 1, runSeed: config.night.seed, iteration: -1 - draws },
        ...{ sampling: config.sampling, limits: config.replay, limiter },
      },
      deps,
    );
    return members;
  };
}

export interface Paired {
  users: number;
  before: number;
  after: number;
  /** Mean over users of what they gained, and its standard error. */
  gain: number;
  error: number;
}

/** Two arms with the same customers, by their places. A customer's conversations lean on one another: their means are the units. @throws RangeError for fewer than two customers */
export function paired({ rewarded }: HeldOut, before: number, after: number): Paired {
  const byUser = Map.groupBy(rewarded, ({ subject }) => subject);
  const users = [...byUser.values()].map((own) => {
    const [first, second] = [before, after].map((arm) => mean(own.map(({ rewards }) => rewards[arm] ?? Number.NaN)));
    return { before: first ?? Number.NaN, after: second ?? Number.NaN };
  });
  if (users.length < 2) throw new RangeError("a paired comparison needs two customers or more");
  const gains = users.map((user) => user.after - user.before);
  const gain = mean(gains);
  const variance = gains.reduce((sum, value) => sum + (value - gain) ** 2, 0) / (gains.length - 1);
  return {
    users: users.length,
    ...{ before: mean(users.map((user) => user.before)), after: mean(users.map((user) => user.after)), gain },
    error: Math.sqrt(variance / gains.length),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
