import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createAgentSandbox } from "../../src/app/sandbox.ts";
import { digestOf } from "../../src/artifact/digest.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { loadSigningKey } from "../../src/artifact/signing-key.ts";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createRulerJudge } from "../../src/reward/judge-ruler.ts";
import { loadRecordings } from "../../src/rollout/load-recordings.ts";
import type { Database } from "../../src/store/database.ts";
import type { BootstrapDeps } from "../../src/training/bootstrap-plan.ts";
import { runBootstrap } from "../../src/training/bootstrap.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { attemptsIn, type Behaviour, type JudgeRequest } from "../reward/judge-server.ts";
import { piecesOf } from "../rollout/scripted-llm.ts";
import { createScriptedPolicy } from "../rollout/scripted-policy.ts";

const THINGS = ["lamp", "desk", "chair", "mirror", "carpet", "kettle", "bottle", "jacket", "bicycle", "tent", "guitar", "piano"];
const WISHES = [
  "came broken and I want my money",
  "is the wrong colour, refund it",
  "never arrived at all",
  "was a gift that nobody likes",
];

/** Whether a question is about tasks, not about rewards. */
export const asksForTasks = ({ messages }: JudgeRequest): boolean => messages[0]?.content.startsWith("You make up tasks") === true;

/** A writer that makes up as many tasks as it is asked for, each of them another one, of the difficulties that it is asked for. */
export function createWriter(): (request: JudgeRequest) => Behaviour {
  let serial = 0;
  return ({ messages: [system, user] }) => {
    const order = piecesOf({ system: system?.content ?? "", user: user?.content ?? "" }).at(-1)?.head ?? "";
    const difficulties = [...order.matchAll(/(\d+) of difficulty (\d)/g)].flatMap(([, many, one]) =>
      Array<number>(Number(many)).fill(Number(one)),
    );
    const tasks = difficulties.map((difficulty) => {
      const [thing, wish] = [THINGS[serial % THINGS.length], WISHES[Math.floor(serial / THINGS.length) % WISHES.length]];
      serial += 1;
      return { task: `My ${thing} ${wish}; the ${thing} was in order A1.`, difficulty, tools: ["issue_refund"] };
    });
    return { text: JSON.stringify({ tasks }) };
  };
}

/** A judge for whom a refund that was made is what counts. */
export const honestJudge = (request: JudgeRequest): Behaviour => ({
  text: JSON.stringify({
    scores: attemptsIn(request).map(({ id, text }) => ({ id, explanation: "looked", score: text.includes('"refunded"') ? 0.9 : 0.1 })),
  }),
});

export interface BootstrapWorld {
  config: AgentConfig;
  deps: BootstrapDeps;
  policy: ReturnType<typeof createScriptedPolicy>;
  runsDirectory: string;
  run: (runId: string, signal?: AbortSignal) => ReturnType<typeof runBootstrap>;
  /** The names of the run's steps that have ended. */
  stepsOf: (runId: string) => Promise<string[]>;
}

const NOW_MS = 1_800_000_000_000;
let worlds = 0;

/** An agent without recordings: a policy that refunds every other time, a judge and a writer over HTTP, a trainer that publishes at once. */
export function bootstrapWorld(
  of: { database: Database; directory: string; llmUrl: string },
  bootstrap: object,
  agent: object = {},
): BootstrapWorld {
  const directory = join(of.directory, String((worlds += 1)));
  const config = parseConfig({
    agents: {
      shop: {
        ...{ model: "m", baseModel: "b", scenario: { heldOutShare: 0.3 } },
        judge: { driver: "ruler", model: `judge-${worlds}`, baseUrl: of.llmUrl, timeoutMs: 5_000, rejudgeGroups: 0 },
        night: { groupSize: 4, iterations: 1, scenarios: 6 },
        ...agent,
        bootstrap: { sandboxed: true, tasks: 10, timeoutMs: 2_000, ...bootstrap },
      },
    },
  }).agents["shop"];
  if (config?.judge?.driver !== "ruler") throw new Error("the config has its judge");
  const { database } = of;
  const now = (): number => NOW_MS;
  const runs = createRunStore(database, now);
  const judging = { database, log: silentLog(), now, env: {} };
  const policy = createScriptedPolicy(({ messages, sampling }) => {
    const isFirst = !messages.some(({ role }) => role === "assistant");
    return isFirst && sampling.seed % 2 === 0 ? { calls: [{ tool: "issue_refund", args: { order_id: "A1" } }] } : { reply: "It is done." };
  });
  const deps: BootstrapDeps = {
    ...{ database, runs, log: silentLog(), now, monotonicMs: () => performance.now() },
    artifacts: createFileArtifactStore({ dir: join(directory, "artifacts") }),
    key: loadSigningKey(join(directory, "keys")),
    judge: createRulerJudge(config.judge, judging),
    judgeDeviation: () => Promise.resolve(null),
    ...{ rewardCheck: null, agentDriver: null },
    sandbox: createAgentSandbox("shop", config, judging),
    recordings: (asked) => loadRecordings(database, { agent: "shop", config, ...asked }),
    fleet: {
      ...{ policyServer: policy, baseDigest: "sha256:base" as const, ensureServed: () => Promise.resolve(), release: () => undefined },
      stable: () => Promise.resolve({ name: "m", digest: "sha256:base", adapter: null }),
    },
    jobRunner: {
      traits: { restartsItself: false, giveBackAfterIdleMs: null },
      start: ({ runDirectory }) => Promise.resolve(publishAdapters(runDirectory, config.night.iterations)),
      status: () => Promise.resolve({ status: "running" }),
      cancel: () => Promise.resolve(),
      release: () => Promise.resolve(),
      close: () => Promise.resolve(),
    },
  };
  const runsDirectory = join(directory, "runs");
  return {
    ...{ config, deps, policy, runsDirectory },
    async run(runId, signal = new AbortController().signal) {
      const plan = { bootstrap: { tasks: config.bootstrap?.tasks, systemPrompt: "Be kind." } };
      if ((await runs.get(runId)) === null) await runs.create({ id: runId, tenant: "default", agent: "shop", plan, nowMs: NOW_MS });
      return runBootstrap({ runId, agent: "shop", config, runsDirectory, signal }, deps);
    },
    async stepsOf(runId) {
      return (await runs.steps(runId)).filter(({ finishedAtMs }) => finishedAtMs !== null).map(({ step }) => step);
    },
  };
}

/** Stands for a trainer that is done at once. `steps` are those that it took, by iteration; it says nothing of them where they are not given. */
export function publishAdapters(runDirectory: string, iterations: number, steps: readonly number[] = []): void {
  for (let iteration = 1; iteration <= iterations; iteration += 1) {
    const adapter = join(runDirectory, `adapter-${iteration}`);
    mkdirSync(adapter, { recursive: true });
    const weights = `weights ${iteration}`;
    writeFileSync(join(adapter, "adapter_model.safetensors"), weights);
    const sha256 = digestOf(weights);
    writeFileSync(
      join(adapter, "manifest.json"),
      JSON.stringify({
        files: { "adapter_model.safetensors": { sha256, bytes: weights.length } },
        ...(steps.length === 0 ? {} : { metrics: { steps: steps[iteration - 1] } }),
      }),
    );
  }
}
