import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import type { Database } from "../../src/store/database.ts";
import { listAdapters } from "../../src/training/adapters.ts";
import { runFileSchema } from "../../src/training/batch-schema.ts";
import type { GroupLine } from "../../src/training/batch.ts";
import { objectiveOf, trainerConfig } from "../../src/training/run-config.ts";
import { startJudgeServer, type JudgeServer } from "../reward/judge-server.ts";
import { startSandboxServer, type SandboxServer } from "../rollout/live/sandbox-server.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { asksForTasks, bootstrapWorld, createWriter, honestJudge, publishAdapters, type BootstrapWorld } from "./bootstrap-world.ts";

function agentWith(night: object): AgentConfig {
  const config = parseConfig({ agents: { shop: { model: "m", baseModel: "b", night } } }).agents["shop"];
  if (config === undefined) throw new Error("the config has its agent");
  return config;
}

describe("the config's stages", () => {
  const base = { path: "b", digest: `sha256:${"0".repeat(64)}` };
  const runFile = (night: object) => trainerConfig({ runId: "r", agent: "shop", config: agentWith(night), base, start: null });

  it("are GRPO alone unless something else is said, and run.json has no other's settings", () => {
    const run = runFile({});
    expect(run.stages).toEqual(["grpo"]);
    expect(run).not.toHaveProperty("sft");
    expect(run).not.toHaveProperty("dpo");
    expect(runFileSchema.safeParse(run).error).toBeUndefined();
  });

  it("go into run.json with the settings that they use", () => {
    const run = runFile({ stages: ["sft", "grpo"], sft: { minReward: 0.7 } });
    expect(run).toMatchObject({ stages: ["sft", "grpo"], sft: { lr: 5e-5, min_reward: 0.7, members_per_group: 4 } });
    expect(run).not.toHaveProperty("dpo");
    const paired = runFile({ stages: ["dpo"], dpo: { beta: 0.2 } });
    expect(paired.dpo).toEqual({ lr: 1e-5, beta: 0.2, min_gap: 0.1 });
    for (const each of [run, paired]) expect(runFileSchema.safeParse(each).error).toBeUndefined();
  });

  it("each have an iteration, and the last one the rest", () => {
    expect([1, 2, 3, 9].map((iteration) => objectiveOf(["sft", "dpo", "grpo"], iteration))).toEqual(["sft", "dpo", "grpo", "grpo"]);
    expect(() => agentWith({ iterations: 1, stages: ["sft", "grpo"] })).toThrow(
      /agents\.shop\.night\.stages.*every stage takes an iteration: name no more of them than `iterations`/s,
    );
    expect(() => agentWith({ stages: ["ppo"] })).toThrow(/night\.stages\.0/);
  });
});

describe("a night of two stages", () => {
  const directory = mkdtempSync(join(tmpdir(), "nightshift-stages-"));
  let database: Database;
  let llm: JudgeServer;
  let sandbox: SandboxServer;
  beforeAll(async () => {
    database = await memoryDatabase();
    const write = createWriter();
    llm = await startJudgeServer((request) => (asksForTasks(request) ? write : honestJudge)(request));
    sandbox = await startSandboxServer();
  });
  afterAll(async () => {
    await sandbox.close();
    await llm.close();
    await database.close();
    rmSync(directory, { recursive: true });
  });

  /** `steps` of the trainer, by iteration. */
  function worldOf(steps: readonly number[]): BootstrapWorld {
    const night = { groupSize: 4, iterations: 2, scenarios: 6, stages: ["sft", "grpo"] };
    const bootstrap = { server: { url: sandbox.url }, reset: { tool: "reset_shop" } };
    const world = bootstrapWorld({ database, directory, llmUrl: llm.url }, bootstrap, { night });
    const start = ({ runDirectory }: { runDirectory: string }) => Promise.resolve(publishAdapters(runDirectory, 2, steps));
    world.deps.jobRunner = { ...world.deps.jobRunner, start };
    return world;
  }

  const linesOf = (world: BootstrapWorld, runId: string, iteration: number): GroupLine[] =>
    gunzipSync(readFileSync(join(world.runsDirectory, runId, `batch-${iteration}`, "groups.jsonl.gz")))
      .toString()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as GroupLine);
  const samplersOf = (lines: readonly GroupLine[]) =>
    new Set(lines.flatMap(({ members }) => members.flatMap(({ calls }) => calls.map((call) => call.adapter_digest))));
  const trainSteps = async ({ deps }: BootstrapWorld, runId: string) =>
    (await deps.runs.steps(runId)).filter(({ step }) => step.startsWith("train-")).map(({ output }) => output);

  test("samples GRPO's first batch from the adapter of SFT, and both stages are in the adapters' lineage", async () => {
    const world = worldOf([2, 2]);
    const outcome = await world.run("staged");
    const adapters = await listAdapters(database, { runId: "staged", limit: 9 });
    const [first, second] = adapters.toSorted((a, b) => a.iteration - b.iteration);
    expect(outcome).toMatchObject({ kind: "candidate", adapterDigest: second?.digest });
    expect(JSON.parse(readFileSync(join(world.runsDirectory, "staged", "run.json"), "utf8"))).toMatchObject({
      ...{ stages: ["sft", "grpo"], iterations: 2 },
      sft: { lr: 5e-5 },
    });
    expect(samplersOf(linesOf(world, "staged", 1))).toEqual(new Set(["sha256:base"]));
    expect(samplersOf(linesOf(world, "staged", 2))).toEqual(new Set([first?.digest]));
    expect(second?.manifest.parentDigest).toBe(first?.digest);
    expect(await trainSteps(world, "staged")).toEqual([
      { objective: "sft", digest: first?.digest, name: first?.name, idleSeconds: 0 },
      { objective: "grpo", digest: second?.digest, name: second?.name, idleSeconds: 0 },
    ]);
    const lineage = await world.deps.artifacts.get(second?.manifest.lineageDigest ?? "sha256:");
    const { groups } = JSON.parse(new TextDecoder().decode(lineage ?? undefined)) as { groups: { iteration: number; objective: string }[] };
    expect(new Set(groups.map(({ iteration, objective }) => `${iteration} ${objective}`))).toEqual(new Set(["1 sft", "2 grpo"]));
  });

  test("goes on from where it stood when SFT found no example: what nothing moved is not served", async () => {
    const world = worldOf([0, 2]);
    const outcome = await world.run("no-example");
    const adapters = await listAdapters(database, { runId: "no-example", limit: 9 });
    expect(adapters.map(({ iteration, manifest }) => [iteration, manifest.parentDigest])).toEqual([[2, null]]);
    expect(outcome).toMatchObject({ kind: "candidate", adapterDigest: adapters[0]?.digest });
    expect(samplersOf(linesOf(world, "no-example", 2))).toEqual(new Set(["sha256:base"]));
    expect((await trainSteps(world, "no-example"))[0]).toEqual({ objective: "sft", digest: null, name: null, idleSeconds: 0 });
  });

  test("has learned nothing where the trainer took no step at all", async () => {
    expect(await worldOf([0, 0]).run("unmoved")).toEqual({ kind: "nothing_to_learn", reason: "the trainer took no step" });
    expect(await listAdapters(database, { runId: "unmoved", limit: 9 })).toEqual([]);
  });
});
