import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadSigningKey } from "../../src/artifact/signing-key.ts";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { loadRecordings } from "../../src/rollout/load-recordings.ts";
import type { Database } from "../../src/store/database.ts";
import { handOver, plainManifest } from "../../src/training/hand-over.ts";
import { loadGroups } from "../../src/training/iteration.ts";
import type { NightDeps } from "../../src/training/night-context.ts";
import { runNight } from "../../src/training/night.ts";
import type { RunOutcome } from "../../src/training/run-store.ts";
import { scenarioIdOf } from "../../src/trajectory/record-tape.ts";
import { createScriptedPolicy } from "../rollout/scripted-policy.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { START_MS, subjectWorld, tablesWith, type SubjectWorld } from "./world.ts";

const directory = mkdtempSync(join(tmpdir(), "nightshift-erase-night-"));
const CUSTOMERS = ["ann", "bob", "cyd", "dan", "eve", "fay"];
let database: Database;
let world: SubjectWorld;
let config: AgentConfig;
beforeAll(async () => {
  database = await memoryDatabase();
  world = await subjectWorld(database, directory);
  const scenario = { quarantineMs: 0, minUsersPerCluster: 1, maxPerCluster: 100, heldOutShare: 0.05, maxShareOfRunPerUser: 1 };
  const night = { iterations: 2, scenarios: 20, groupSize: 3, heartbeatTimeoutMs: 600_000 };
  const own = parseConfig({ agents: { shop: { model: "m", baseModel: "b", scenario, night } } }).agents["shop"];
  if (own === undefined) throw new Error("the config has its agent");
  config = own;
});
afterAll(async () => {
  await world.close();
  await database.close();
  rmSync(directory, { recursive: true });
});

const SCORES = { rewards: [0, 0.5, 1], spreads: [null, null, null], explanations: ["", "", ""], anchor: null };

/** A whole night on real rows, objects and files; policy, judge and trainer do at once what they are told. `on` is called at each of these moments. */
async function night(
  runId: string,
  on: { rollOut?: (prompt: string) => Promise<void>; batch?: (iteration: number) => Promise<void> },
): Promise<RunOutcome> {
  const { artifacts, runs, runsDirectory, clock } = world;
  const now = (): number => clock.nowMs;
  await runs.create({ id: runId, tenant: "default", agent: "shop", plan: {}, nowMs: now() });
  const policy = createScriptedPolicy((request, random) => ({
    reply: `${JSON.stringify(request.messages.at(-1))} ${random.integer(1, 1_000)}`,
  }));
  const runDirectory = join(runsDirectory, runId);
  const deps: NightDeps = {
    ...{
      database,
      artifacts,
      runs,
      log: silentLog(),
      now,
      monotonicMs: () => performance.now(),
      key: loadSigningKey(join(directory, "keys")),
    },
    agentDriver: null,
    recordings: (asked) => loadRecordings(database, { agent: "shop", config, ...asked }),
    judge: {
      score: () => Promise.resolve({ status: "scored", ...SCORES, provenance: {} } as never),
    },
    judgeDeviation: () => Promise.resolve(null),
    rewardCheck: null,
    fleet: {
      stable: () => Promise.resolve({ name: "m", digest: "sha256:base", adapter: null }),
      ensureServed: () => Promise.resolve(),
      release: () => undefined,
      baseDigest: `sha256:${"0".repeat(64)}`,
      policyServer: {
        ...policy,
        async chat(request, options) {
          await on.rollOut?.(JSON.stringify(request.messages));
          return policy.chat(request, options);
        },
      },
    },
    jobRunner: {
      traits: { restartsItself: false, giveBackAfterIdleMs: null },
      start: () => Promise.resolve(),
      async status() {
        for (const iteration of [1, 2]) {
          const [batch, adapter] = [join(runDirectory, `batch-${iteration}`), join(runDirectory, `adapter-${iteration}`)];
          if (!existsSync(join(batch, "manifest.json")) || existsSync(adapter)) continue;
          await on.batch?.(iteration);
          const files = new Map([["adapter_model.safetensors", Buffer.from(`weights ${runId} ${iteration}`)]]);
          if ((await runs.get(runId))?.state === "running") await handOver(adapter, files, plainManifest(files));
        }
        return { status: "running" };
      },
      cancel: () => Promise.resolve(),
      release: () => Promise.resolve(),
      close: () => Promise.resolve(),
    },
  };
  return runNight({ runId, agent: "shop", config, runsDirectory, signal: new AbortController().signal }, deps);
}

/** Scenarios in what the trainer was given. */
function batchOf(runId: string, iteration: number): string[] {
  const lines = gunzipSync(readFileSync(join(world.runsDirectory, runId, `batch-${iteration}`, "groups.jsonl.gz")))
    .toString()
    .trim()
    .split("\n");
  return lines.map((line) => (JSON.parse(line) as { scenario_id: string }).scenario_id).toSorted();
}

async function talkAll(suffix: string): Promise<Map<string, string>> {
  const ids = new Map<string, string>();
  for (const customer of CUSTOMERS.map((name) => name + suffix))
    ids.set(customer, scenarioIdOf(await world.talk(customer, `I am ${customer}, about parcel ${customer}`)));
  return ids;
}

test("a subject that is erased while it is rolled out is in no batch; the night goes on to its candidate", async () => {
  const ids = await talkAll("-1");
  const train = new Set<string>();
  let isErased = false;
  const outcome = await night("night-1", {
    async rollOut(prompt) {
      // The first one that is played and the run's own choice: held-out customers are never asked for.
      const [customer] = CUSTOMERS.map((name) => `${name}-1`).filter((name) => prompt.includes(`I am ${name},`));
      if (customer !== undefined) train.add(customer);
      if (isErased || customer === undefined) return;
      isErased = true;
      await world.eraser.erase({ tenant: "default", subjects: [customer], actor: "tester" });
    },
  });
  expect(outcome).toMatchObject({ kind: "candidate" });
  const [erased = "", ...others] = train;
  expect(others.length).toBeGreaterThan(1);
  const expected = others.map((customer) => ids.get(customer) ?? "").toSorted();
  expect([batchOf("night-1", 1), batchOf("night-1", 2)]).toEqual([expected, expected]);
  expect(await tablesWith(database, `parcel ${erased}`)).toEqual([]);
  expect(
    (await database.kysely.selectFrom("scenarios").select("id").where("run_id", "=", "night-1").execute()).map(({ id }) => id).toSorted(),
  ).toEqual(expected);
});

test("a subject that is erased when the trainer has its batch ends the night; its batch goes once the night has let go", async () => {
  world.clock.nowMs = START_MS + 86_400_000;
  await talkAll("-2");
  let subject = "";
  const ended = night("night-2", {
    async batch(iteration) {
      if (iteration !== 1 || subject !== "") return;
      const inBatch = new Set((await loadGroups(database, "night-2", 1)).map(({ scenarioId }) => scenarioId));
      const rows = await database.kysely.selectFrom("scenarios").select(["id", "body"]).where("run_id", "=", "night-2").execute();
      subject = String(rows.find(({ id, body }) => inBatch.has(id) && String(body["subject"]).endsWith("-2"))?.body["subject"]);
      const report = await world.eraser.erase({ tenant: "default", subjects: [subject], actor: "tester" });
      expect(report).toMatchObject({ state: "started", endedRuns: ["night-2"], runs: ["night-2"] });
      expect(await world.eraser.finish((runId) => runId === "night-2")).toBe(0);
    },
  });
  expect(await ended).toMatchObject({ kind: "failed", code: "run_lost_subject" });
  expect(existsSync(join(world.runsDirectory, "night-2", "batch-1"))).toBe(true);
  expect(await world.eraser.finish(() => false)).toBe(1);
  expect(existsSync(join(world.runsDirectory, "night-2", "batch-1"))).toBe(false);
  expect(await tablesWith(database, `parcel ${subject}`)).toEqual([]);
  expect(await world.runs.get("night-2")).toMatchObject({ state: "failed" });
});
