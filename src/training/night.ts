import { beginTraining, carryOut, learnByIterations } from "./learning.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { measureReplay, reportReplay } from "./night-fidelity.ts";
import { probeCandidates, rollOutAndJudge } from "./night-rollouts.ts";
import { pinRecordings, recordingsOfRun } from "./night-start.ts";
import type { RunOutcome } from "./run-store.ts";

/** One night for one agent: (select → roll out → judge → batch → train) × iterations, as `carryOut` has it. */
export function runNight(options: NightOptions, deps: NightDeps): Promise<RunOutcome> {
  return carryOut(options, deps, learn);
}

async function learn(options: NightOptions, deps: NightDeps): Promise<RunOutcome> {
  const { runId } = options;
  const startedAtMs = (await deps.runs.get(runId))?.startedAtMs ?? deps.now();
  const pinned = await pinRecordings(options, deps, startedAtMs);
  if (pinned.trainScenarios === 0) return { kind: "nothing_to_learn", reason: "no trainable conversation passed selection" };

  const trust = await measureReplay(options, deps, pinned.recordings);
  const begun = await beginTraining(options, deps);
  await probeCandidates(options, deps, { policy: begun.start, recordings: pinned.recordings, trust, startedAtMs });
  return learnByIterations(options, deps, begun, async ({ iteration, policy }) => {
    // Read again in every iteration: who was erased since is in none that follows.
    const recordings = iteration === 1 ? pinned.recordings : ((await recordingsOfRun(runId, deps)) ?? pinned.recordings);
    const groups = await rollOutAndJudge(options, deps, { iteration, policy, recordings, trust, startedAtMs });
    await reportReplay(options, deps, { iteration, recordings });
    return groups;
  });
}
