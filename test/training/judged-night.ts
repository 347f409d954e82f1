import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createRulerJudge } from "../../src/reward/judge-ruler.ts";
import { UNMEASURED } from "../../src/rollout/cascade/trust.ts";
import { loadRecordings } from "../../src/rollout/load-recordings.ts";
import type { Database } from "../../src/store/database.ts";
import type { StoredGroup } from "../../src/training/iteration.ts";
import type { NightDeps } from "../../src/training/night-context.ts";
import { rollOutAndJudge } from "../../src/training/night-rollouts.ts";
import { attemptsIn, type Behaviour, type JudgeRequest, type JudgeServer } from "../reward/judge-server.ts";
import { createScriptedPolicy } from "../rollout/scripted-policy.ts";
import type { SubjectWorld } from "../subjects/world.ts";

/** Members say "good", "fair", "poor" or what production said ("I see: …"); this is what a steady judge thinks of it. */
export const SCORES = { good: 0.9, fair: 0.6, poor: 0.1, recorded: 0.4 } as const;
type Kind = keyof typeof SCORES;
export const kindOf = (text: string) => (["good", "fair", "poor"] as const).find((kind) => text.includes(`I am ${kind}`)) ?? "recorded";
export const scores = (request: JudgeRequest, scoreOf: (text: string, slot: number) => number): Behaviour => ({
  text: JSON.stringify({
    scores: attemptsIn(request).map(({ id, text }, slot) => ({ id, explanation: kindOf(text), score: scoreOf(text, slot) })),
  }),
});
export const byContent = (request: JudgeRequest): Behaviour => scores(request, (text) => SCORES[kindOf(text)]);

export interface Night {
  runId: string;
  groups: StoredGroup[];
  deps: NightDeps;
  config: AgentConfig;
}

/**
 * The first iteration of a night over a world's conversations. `kinds` are what the members of a group say, in turn; for those in `improbable` the server has no probability.
 */
export async function playNight(
  { database, world, server, nights }: { database: Database; world: SubjectWorld; server: JudgeServer; nights: () => number },
  agent: Record<string, unknown>,
  more: Partial<NightDeps> & { kinds?: readonly Kind[]; improbable?: readonly Kind[]; runId?: string } = {},
): Promise<Night> {
  const { kinds = ["good", "fair", "poor", "recorded"], improbable = [], runId = `run-${nights()}`, ...given } = more;
  const judged = { driver: "ruler", model: `judge-${runId}`, baseUrl: server.url, timeoutMs: 5_000, ...(agent["judge"] as object) };
  const config = parseConfig({
    agents: {
      shop: {
        ...{ model: "m", baseModel: "b", replay: { concurrency: 4 } },
        scenario: { quarantineMs: 0, minUsersPerCluster: 1, maxPerCluster: 100, heldOutShare: 0.05, maxShareOfRunPerUser: 1 },
        ...agent,
        judge: judged,
        night: { groupSize: kinds.length, ...(agent["night"] as object) },
      },
    },
  }).agents["shop"];
  if (config?.judge?.driver !== "ruler") throw new Error("the config has its judge");
  const { artifacts, runs, clock } = world;
  const now = (): number => clock.nowMs;
  if ((await runs.get(runId)) === null) {
    await runs.create({ id: runId, tenant: "default", agent: `shop-${runId}`, plan: {}, nowMs: now() });
  }
  // A seed is one member's, so the kinds are dealt by the order of a group's seeds.
  const seeds = new Map<string, number[]>();
  const policy = createScriptedPolicy(({ messages, sampling }) => {
    const asked = String(messages.at(-1)?.content);
    const known = seeds.get(asked) ?? [];
    if (!known.includes(sampling.seed)) seeds.set(asked, [...known, sampling.seed]);
    const kind = kinds[(seeds.get(asked) ?? []).indexOf(sampling.seed)] ?? "poor";
    const reply = kind === "recorded" ? asked.replace("It is me. ", "I see: ") : `I am ${kind}`;
    return { reply, logprob: improbable.includes(kind) ? -9999 : -0.5 };
  });
  const deps = {
    ...{ database, artifacts, runs, log: silentLog(), now, monotonicMs: () => performance.now() },
    judge: createRulerJudge(config.judge, { database, log: silentLog(), now, env: {} }),
    judgeDeviation: () => Promise.resolve(null),
    rewardCheck: null,
    agentDriver: null,
    fleet: { policyServer: policy },
    ...given,
  } as unknown as NightDeps;
  const options = { runId, agent: "shop", config, runsDirectory: world.runsDirectory, signal: new AbortController().signal };
  const recordings = await loadRecordings(database, { agent: "shop", config, nowMs: now() });
  const at = { iteration: 1, policy: { name: "m", digest: "sha256:base" }, recordings, trust: UNMEASURED, startedAtMs: now() };
  return { runId, groups: await rollOutAndJudge(options, deps, at), deps, config };
}
