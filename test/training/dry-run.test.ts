import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createNightDesk } from "../../src/app/night-desk.ts";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import type { Database } from "../../src/store/database.ts";
import { estimateNight, type DryRun } from "../../src/training/dry-run.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { cli, stubApi } from "../cli/terminal.ts";
import { conversation, lookup, shopConfigs } from "../rollout/build.ts";
import { scenarioOf } from "../rollout/plan.ts";
import { openScenarios } from "../scenario/settings.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const NOW = 1e9;
function configOf(change: Record<string, unknown> = {}): AgentConfig {
  const night = { iterations: 3, groupSize: 4, scenarios: 10, probe: { members: 2, scenarios: 6 } };
  const judge = { driver: "ruler", model: "j", rejudgeGroups: 2 };
  const replay = { maxCalls: 16, stepsPerConversation: 2 };
  const agent = {
    model: "m",
    baseModel: "b",
    tools: shopConfigs,
    judge,
    replay,
    ...change,
    night: { ...night, ...(change["night"] as object) },
  };
  return parseConfig({ agents: { shop: agent } }).agents["shop"] as AgentConfig;
}

// Two tool turns and a last word: three model calls, of which two are sampled; the other has one, with nothing to say in it but the word.
const long = conversation("long", [lookup("A1"), lookup("B1")]);
const short = conversation("short", []);
const trajectories = [long, short];
const steps = trajectories.map((one) => ({ ...scenarioOf(one), mode: "step" as const }));
const loops = trajectories.map((one) => ({ ...scenarioOf(one), mode: "loop" as const }));
const estimate = (input: Partial<Parameters<typeof estimateNight>[0]>, change: Record<string, unknown> = {}) =>
  estimateNight({ scenarios: loops, candidates: 2, trajectories, tapes: [], isCalibrated: false, ...input }, configOf(change));

describe("what a night would take", () => {
  it("is counted by hand for whole conversations", () => {
    expect(estimate({})).toEqual({
      // Of each of six groups replay may cut two single steps of four members.
      ...{ pivots: 0, groups: 2, rollouts: 2 * 4 * 3, maxCutSteps: 12, maxModelCalls: 2 * 4 * 3 * 16 + 12 * 4 },
      judgings: { groups: 6, probes: 0, noise: 2, audit: 0 },
      ...{ judgeCalls: 8, maxJudgeCalls: (8 + 12) * 2 },
    });
  });

  it("counts every pivot as a group, and one model call a member of it", () => {
    expect(estimate({ scenarios: [...steps, loops[0] as (typeof loops)[0]] })).toMatchObject({
      ...{ pivots: 3, groups: 4, rollouts: (1 + 3) * 4 * 3, maxModelCalls: 1 * 4 * 3 * 16 + 3 * 4 * 3 + 6 * 4 },
      judgings: { groups: 12, probes: 0, noise: 2 },
    });
  });

  it.each([
    ["a calibrated judge is not asked again", { isCalibrated: true }, {}, { noise: 0, audit: 0 }],
    ["nor is a scripted one", {}, { judge: { driver: "scripted", module: "m.js" } }, { noise: 0, audit: 0 }],
    [
      "the audit asks of no more than there are",
      {},
      { judge: { driver: "ruler", model: "j", rejudgeGroups: 0, audit: { driver: "ruler", model: "k", groups: 20 } } },
      { noise: 0, audit: 6 },
    ],
  ])("%s", (_, input, change, judgings) => {
    expect(estimate(input, change).judgings).toMatchObject(judgings);
  });

  it("cuts nothing where a script judges, or an operator says so", () => {
    expect(estimate({}, { judge: { driver: "scripted", module: "m.js" } }).maxCutSteps).toBe(0);
    expect(estimate({}, { replay: { cutSteps: false } }).maxCutSteps).toBe(0);
  });

  it("asks a scripted judge once, and one of RULER at most twice", () => {
    const audit = { driver: "ruler", model: "k", groups: 1 };
    expect(estimate({}, { judge: { driver: "scripted", module: "m.js", audit } })).toMatchObject({ judgeCalls: 7, maxJudgeCalls: 6 + 2 });
  });

  it("probes only where there is more to choose from than a night takes", () => {
    const probed = estimate({ candidates: 11 });
    expect(probed).toMatchObject({ rollouts: 24 + 6 * 2, judgings: { probes: 6 } });
    expect(estimate({ candidates: 10 }).judgings.probes).toBe(0);
  });
});

describe("nightshift run --dry-run", () => {
  let database: Database;
  beforeAll(async () => {
    database = await memoryDatabase();
  });
  afterAll(() => database.close());

  it("tells it, with what judges are asked for", async () => {
    const config = { ...configOf(), scenario: { ...openScenarios, heldOutShare: 0 } };
    const recordings = createRecordings({ trajectories, feedback: [], config, nowMs: NOW });
    const deps = { database, runs: createRunStore(database, () => NOW), recordings: () => Promise.resolve(recordings), now: () => NOW };
    const desk = createNightDesk({ agent: "shop", config, identity: null }, { ...deps, requireSlot: () => Promise.resolve() });
    const plan: DryRun = await desk.dryRun();
    // One tape alone is predicted to answer 0.51 of what is not constant: the one with calls is played step by step.
    expect(plan).toMatchObject({ trainScenarios: 2, modes: { "step (low_coverage)": 1, "loop (covered)": 1 }, pivots: 2, groups: 3 });
    const api = await stubApi({ "GET /v1/status": { agents: [{ agent: "shop" }] }, "POST /v1/runs": plan });
    const { out } = await cli(["run", "--dry-run", "--url", api.url]);
    await api.close();
    expect(out).toMatch(/^groups of an iteration +3, 2 of them single model calls$/m);
    // Eleven, and two steps of the one whole conversation in each of three iterations, all twice.
    expect(out).toMatch(/^judge calls +11, at most 34: for groups 9, again for its noise 2$/m);
  });
});
