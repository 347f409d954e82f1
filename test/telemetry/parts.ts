import { createRulerJudge } from "../../src/reward/judge-ruler.ts";
import { refundGroup } from "../reward/groups.ts";
import { honestScores, startJudgeServer } from "../reward/judge-server.ts";
import type { NightDeps, NightOptions } from "../../src/training/night-context.ts";
import { rollOutAndJudge } from "../../src/training/night-rollouts.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startCapture } from "../../src/app/capture.ts";
import { parseConfig } from "../../src/config.ts";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import { createAdapterAgent, type AdapterAgent } from "../../src/serving/adapter-agent.ts";
import { createOffTape } from "../../src/rollout/off-tape.ts";
import type { ArtifactStore } from "../../src/artifact/artifact-store.ts";
import type { Database } from "../../src/store/database.ts";
import { acquireAlone, createElection } from "../../src/store/election.ts";
import { createEraser } from "../../src/training/eraser.ts";
import { examineRun } from "../../src/training/alarms.ts";
import { createRetention } from "../../src/training/retention.ts";
import type { JobRunner } from "../../src/training/job-runner.ts";
import { bury, tombstoneHash } from "../../src/trajectory/tombstones.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import { createDeadLetters } from "../../src/transport/kafka/dead-letter.ts";
import { createLagMeter } from "../../src/transport/kafka/lag.ts";
import { protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { persuasive, storeNight } from "../training/stored-night.ts";

export const UP = { name: "shop-1-aaaaaaaaaaaa", digest: "sha256:a" };

/** The adapter agent of replica `r-1`, on which only `stored` can be brought up. */
export function adapterAgent(state: { isDown: boolean }, stored: { name: string; digest: string }): AdapterAgent {
  return createAdapterAgent(
    { replica: "r-1", intervalMs: 60_000, retryMs: 60_000 },
    {
      policyServer: {
        chat: () => Promise.reject(new Error("not used")),
        promptLogprobs: () => Promise.reject(new Error("not used")),
        models: () => Promise.resolve(state.isDown ? null : []),
        loadAdapter: () => Promise.resolve({ status: "loaded" }),
        unloadAdapter: () => Promise.resolve(),
      },
      fetchAdapter: ({ name }) => Promise.resolve(name === stored.name ? { directory: `/adapters/${name}` } : null),
      verify: () => Promise.resolve({ status: "valid", ...stored }),
      prove: () => Promise.resolve({ status: "active", figures: { probeTokens: 300, slope: 1, t: 40, baseGap: 0.001 } }),
      instance: () => Promise.resolve("boot-1"),
      publish: () => Promise.resolve(),
      ...{ now: () => 0, monotonicMs: () => 0, log: silentLog() },
    },
  );
}

/** A trainer that fails once, then says nothing for four seconds of `clock`, then publishes adapter-1 after `beforeEnd`. */
export function slowTrainer(runDirectory: string, clock: { monotonicMs: number }, beforeEnd: () => Promise<void>): JobRunner {
  let looks = 0;
  return {
    traits: { restartsItself: false, giveBackAfterIdleMs: null },
    start: () => Promise.resolve(),
    async status() {
      looks += 1;
      if (looks === 1) return { status: "failed", exitCode: 1, retryable: true, detail: "" };
      if (looks === 2) clock.monotonicMs += 4_000;
      if (looks === 3) {
        await beforeEnd();
        publish(join(runDirectory, "adapter-1"));
      }
      return { status: "running" };
    },
    cancel: () => Promise.resolve(),
    release: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}

/** Puts one Kafka record aside and measures a group that is 12 trace records and 3 log records behind. */
export async function measureKafka(): Promise<void> {
  const deadLetters = createDeadLetters("dead", { send: () => Promise.resolve(), log: silentLog() });
  const source = { topic: "spans", partition: 0, offset: "7", signal: "traces" } as const;
  await deadLetters.put({ key: null, value: null }, source, nightshiftError("otlp_malformed", { where: "Span", problem: "cut off" }));
  const part = (partition: number, low: string, high: string) => ({ partition, low, high, offset: high });
  // Partition 0 is 2 behind, 1 was never committed, 2 was overtaken by retention.
  const ends = { spans: [part(0, "0", "10"), part(1, "1", "5"), part(2, "50", "56")], logs: [part(0, "0", "3")] };
  const at = (partition: number, offset: string) => ({ partition, offset, metadata: null });
  const committed = { spans: [at(0, "8"), at(1, "-1"), at(2, "20")], logs: [at(0, "-1")] };
  const admin = {
    fetchTopicOffsets: (topic: string) => Promise.resolve(topic === "logs" ? ends.logs : ends.spans),
    fetchOffsets: ({ topics = [] }: { topics?: string[] }) =>
      Promise.resolve(topics.map((topic) => ({ topic, partitions: topic === "logs" ? committed.logs : committed.spans }))),
  };
  await createLagMeter({ groupId: "g", topics: { traces: "spans", logs: "logs", deadLetter: "dead" } }, { admin }).measure();
}

export function publish(directory: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "weights"), "w");
  const sha256 = `sha256:${createHash("sha256").update("w").digest("hex")}`;
  writeFileSync(join(directory, "manifest.json"), JSON.stringify({ files: { weights: { sha256, bytes: 1 } } }));
}

/** Leads for a while on a database of its own; what `look` sees in the term, and after it. */
export async function measureElection<T>(database: Database, look: () => Promise<T>): Promise<[T, T]> {
  const election = createElection({ name: "alone" }, { acquire: acquireAlone, database, log: silentLog(), now: () => 0 });
  const seen = await new Promise<T>((resolve, reject) => {
    election.campaign(async ({ signal }) => {
      const over = new Promise((end) => signal.addEventListener("abort", end));
      look().then(resolve, reject);
      await over;
    });
  });
  await election.close();
  return [seen, await look()];
}

/** An erasure of somebody of whom nothing is held, and a sweep over one old piece of feedback. */
export async function measureUpkeep(deps: { database: Database; artifacts: ArtifactStore }): Promise<void> {
  const runFiles = { removeBatch: () => Promise.resolve(), removeRun: () => Promise.resolve(), list: () => Promise.resolve([]) };
  const parts = { ...deps, runFiles, log: silentLog() };
  await createEraser({ ...parts, now: () => 0 }).erase({ tenant: "measured", subjects: ["anna"], actor: "me" });
  const said = { target_kind: "trace", target: "t", name: "n", source: "s", value: '{"value":1}', at_ms: 1 } as const;
  await deps.database.kysely
    .insertInto("feedback")
    .values({ ...said, tenant: "measured" })
    .execute();
  let nowMs = 200_000_000;
  const retention = createRetention({ measured: { capturedDays: 1, nightsDays: 1 } }, { ...parts, sweepCache: null, now: () => nowMs });
  await retention.sweep();
  nowMs += 86_400_000;
  await retention.sweep();
}

/** What a rollout's user and simulator answered, for agent `shop`. */
export async function measureOffTape(points: (name: string) => Promise<readonly { attributes: object }[]>): Promise<string[]> {
  const offTape = createOffTape("shop", { simulator: null, liveReads: null, user: null });
  offTape.count("simulator", "answered");
  offTape.count("user", "unavailable");
  return (await points("nightshift.replay.off_tape")).map(({ attributes }) => Object.values(attributes).join(" "));
}

/** A span of somebody who was erased, received before that. */
export async function measureRefused(deps: { database: Database; artifacts: ArtifactStore; dataDir: string }): Promise<void> {
  const log = silentLog();
  const transport = createInlineTransport({ log });
  const capture = await startCapture(
    { ...parseConfig({ collector: { port: 0 } }), dataDir: deps.dataDir },
    { ...deps, transport, log, now: Date.now },
  );
  const { kysely } = deps.database;
  await bury(kysely, { tenant: "default", hash: await tombstoneHash(kysely, "default"), atMs: 2 }, [{ kind: "subject", id: "anna" }]);
  const body = protobuf(traceRequest([spanJson({ attributes: { "user.id": "anna" } })]));
  await transport.publish({ tenant: "default", signal: "traces", body, encoding: "identity", redacted: true, receivedAtMs: 1 });
  await capture.close();
}

/** An iteration whose three groups are judged already, two of them kept. */
async function measureJudged({ database, directory }: { database: Database; directory: string }): Promise<void> {
  const runs = createRunStore(database, () => 0);
  await runs.create({ id: "judged", tenant: "t", agent: "judged-shop", plan: {}, nowMs: 0 });
  await runs.step("judged", "scenarios-1", () => Promise.resolve({ scenarioIds: [] }));
  const row = { run_id: "judged", iteration: 1, scenario_id: "s", body_digest: "sha256:g" };
  for (const [id, verdict] of Object.entries({ g1: "kept", g2: "kept", g3: "judge_budget_spent" })) {
    const summary = JSON.stringify({ verdict, rewards: [], judge: null, mean: null, deviation: 0.2 });
    await database.kysely
      .insertInto("groups")
      .values({ ...row, id, summary })
      .execute();
  }
  const config = parseConfig({ agents: { shop: { model: "m", baseModel: "b" } } }).agents["shop"];
  const options = { runId: "judged", agent: "shop", config, runsDirectory: directory, signal: new AbortController().signal };
  const deps = { database, runs, log: silentLog(), now: () => 0, judgeDeviation: () => Promise.resolve(null), rewardCheck: null };
  const at = { iteration: 1, policy: { name: "m", digest: "d" }, recordings: {}, startedAtMs: 0 };
  await rollOutAndJudge(options as NightOptions, deps as unknown as NightDeps, at as never);
}

/** A question whose first reply is unusable, the same once more from the cache, and an iteration of judged groups. */
export async function measureJudge(deps: { database: Database; directory: string }): Promise<void> {
  const replies = ["no JSON at all"];
  const server = await startJudgeServer((request) => ({ text: replies.shift() ?? JSON.stringify({ scores: honestScores(request) }) }));
  const judge = createRulerJudge(
    {
      ...{ driver: "ruler", baseUrl: server.url, model: "judge", timeoutMs: 5_000, concurrency: 4, maxTokensPerRun: 10_000 },
      ...{ inputPricePerMillion: 2, outputPricePerMillion: 10 },
    },
    { database: deps.database, log: silentLog(), now: () => 0, env: {} },
  );
  for (const group of [refundGroup(), refundGroup()]) await judge.score(group);
  await server.close();
  await measureJudged(deps);
}

/** A night in which a phrase spreads; the reasons of the alarms that `read` then finds. */
export async function measureAlarm(
  database: Database,
  artifacts: ArtifactStore,
  read: () => Promise<readonly { attributes: Record<string, unknown> }[]>,
): Promise<unknown[]> {
  const deps = { database, artifacts, runs: createRunStore(database, () => 0), log: silentLog(), now: () => 0 };
  await storeNight(deps, "hacked", persuasive);
  const run = await deps.runs.get("hacked");
  if (run !== null) await examineRun(run, deps);
  return (await read()).map(({ attributes }) => attributes["nightshift.reason"]);
}
