import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readSpending } from "../../src/reward/client/budget.ts";
import { decodeGroup } from "../../src/rollout/encode-group.ts";
import { lacksProbability } from "../../src/rollout/group.ts";
import type { Database } from "../../src/store/database.ts";
import { writeBatch } from "../../src/training/batch.ts";
import { groupLine } from "../../src/training/group-lines.ts";
import { attemptsIn, startJudgeServer, type Behaviour, type JudgeRequest, type JudgeServer } from "../reward/judge-server.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { subjectWorld, type SubjectWorld } from "../subjects/world.ts";
import { byContent, kindOf, playNight, scores, SCORES, type Night } from "./judged-night.ts";

/** Groups of captured conversations through replay and a RULER judge over HTTP: what is kept of every score, and what trains. */
const directory = mkdtempSync(join(tmpdir(), "nightshift-judged-"));
const PROBABILITIES = JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/batch/probability.json"), "utf8")) as {
  logprob: number;
  lacks: boolean;
}[];
const CUSTOMERS = ["ann", "bob", "cyd", "dan"];
let database: Database;
let world: SubjectWorld;
let server: JudgeServer;
let behave: (request: JudgeRequest, index: number) => Behaviour;
beforeAll(async () => {
  database = await memoryDatabase();
  world = await subjectWorld(database, directory);
  for (const customer of CUSTOMERS) await world.talk(customer, `secret of ${customer}`);
  server = await startJudgeServer((request, index) => behave(request, index));
});
beforeEach(() => {
  behave = byContent;
});
afterAll(async () => {
  await server.close();
  await world.close();
  await database.close();
  rmSync(directory, { recursive: true });
});

const sorted = (rewards: readonly (number | null)[] = []): number[] => rewards.map((reward) => reward ?? -1).toSorted((a, b) => a - b);

let nights = 0;
const night = (agent: Record<string, unknown>, more: Parameters<typeof playNight>[2] = {}): Promise<Night> =>
  playNight({ database, world, server, nights: () => ++nights }, agent, more);
const noiseOf = async (runId: string) => (await world.runs.steps(runId)).find(({ step }) => step === "noise")?.output;

test("every score says who gave it, from which prompt, in how many passes, and at what cost", async () => {
  const { groups } = await night({ judge: { inputPricePerMillion: 1, outputPricePerMillion: 10, rejudgeGroups: 0 } });
  expect(groups).toHaveLength(CUSTOMERS.length);
  for (const { summary } of groups) {
    expect(summary).toMatchObject({
      verdict: "kept",
      judgeRewards: summary.rewards,
      spreads: [null, null, null, null],
      anchorReward: null,
      independent: null,
      judge: {
        ...{ driver: "ruler", rubricVersion: "ruler-1", inputTokens: 100, outputTokens: 10, passes: 1, elided: false, cached: false },
        ...{
          model: expect.stringMatching(/^judge-run/),
          promptHash: expect.stringMatching(/^[0-9a-f]{64}$/),
          cost: expect.closeTo(0.0002, 12),
        },
      },
    });
    expect(sorted(summary.rewards)).toEqual([0.1, 0.4, 0.6, 0.9]);
  }
});

test("members without a probability are judged, counted and handed over; a group of nobody else does not train", async () => {
  const some = await night({ judge: { rejudgeGroups: 0 } }, { improbable: ["good", "poor"] });
  for (const { summary, bodyDigest } of some.groups) {
    expect(summary).toMatchObject({ verdict: "kept", withoutProbability: 2 });
    expect(sorted(summary.rewards)).toEqual([0.1, 0.4, 0.6, 0.9]);
    // The trainer decides who is learned from, and needs everybody for the baseline.
    const line = groupLine(decodeGroup((await world.artifacts.get(bodyDigest)) ?? new Uint8Array()), summary.rewards);
    expect(new Map(line.members.map(({ reward, calls }) => [reward, calls[0]?.logprobs]))).toEqual(
      new Map([
        [0.1, [-9999]],
        [0.4, [-0.5]],
        [0.6, [-0.5]],
        [0.9, [-9999]],
      ]),
    );
    await writeBatch(join(world.runsDirectory, `${some.runId}-${line.group_id}`), 1, [line]);
  }
  const stepOf = async (runId: string) => (await world.runs.steps(runId)).find(({ step }) => step === "groups-1")?.output;
  expect(await stepOf(some.runId)).toMatchObject({ kept: CUSTOMERS.length, withoutProbability: 2 * CUSTOMERS.length });
  const none = await night({ judge: { rejudgeGroups: 0 } }, { improbable: ["good", "fair", "poor", "recorded"] });
  expect(await stepOf(none.runId)).toMatchObject({ kept: 0, verdicts: { no_probabilities: CUSTOMERS.length } });
});

test.each(PROBABILITIES)("the trainer and the control plane agree where a probability ends: $logprob", ({ logprob, lacks }) => {
  const call = { promptTokenIds: [1], completionTokenIds: [2, 3], finishReason: "stop", adapterDigest: "base" };
  const sampling = { temperature: 1, topP: 1, topK: 0, minP: 0, seed: 1 };
  expect(lacksProbability({ calls: [{ ...call, sampling, logprobs: [-0.5, logprob] }] })).toBe(lacks);
  // What a server draws from.
  expect(Math.fround(Math.exp(logprob)) === 0).toBe(lacks);
});

describe("the anchor", () => {
  test("is judged, kept beside the group, and in no mean and no batch", async () => {
    const { groups, runId } = await night({ judge: { anchor: true, rejudgeGroups: 0 } }, { kinds: ["good", "fair", "poor"] });
    const lines = [];
    for (const { summary, bodyDigest } of groups) {
      expect(summary).toMatchObject({ anchorReward: 0.4, anchorExplanation: "recorded", members: 3 });
      // (.9 + .6 + .1) / 3; with the anchor it would be .5.
      expect(summary.mean).toBeCloseTo(1.6 / 3, 12);
      const body = decodeGroup((await world.artifacts.get(bodyDigest)) ?? new Uint8Array());
      expect(JSON.stringify(body.members)).not.toContain("I see:");
      lines.push(groupLine(body, summary.rewards));
    }
    const runDirectory = join(world.runsDirectory, runId);
    expect(await writeBatch(runDirectory, 1, lines)).toMatchObject({ groups: groups.length, members: 3 * groups.length });
    const batch = gunzipSync(readFileSync(join(runDirectory, "batch-1", "groups.jsonl.gz"))).toString();
    const rewards = batch
      .trim()
      .split("\n")
      .flatMap((line) => (JSON.parse(line) as { members: { reward: number }[] }).members.map(({ reward }) => reward));
    expect(new Set(rewards)).toEqual(new Set([0.9, 0.6, 0.1]));
    expect(server.requests.slice(-groups.length).map((request) => attemptsIn(request).length)).toEqual(groups.map(() => 4));
  });

  test("shares its score with a member that did the same", async () => {
    const { groups } = await night({ judge: { anchor: true, rejudgeGroups: 0 } });
    for (const { summary } of groups) {
      expect(summary.anchorReward).toBe(0.4);
      expect(summary.rewards.filter((reward) => reward === 0.4)).toHaveLength(1);
    }
    expect(server.requests.slice(-groups.length).map((request) => attemptsIn(request).length)).toEqual(groups.map(() => 4));
  });
});

describe("independent rewards", () => {
  const check = {
    name: "check",
    checkAttempt: ({ messages }: { messages: readonly object[] }) => (kindOf(JSON.stringify(messages.at(-1))) === "poor" ? 0 : 0.5),
  };
  const sortedRewards = ({ groups }: Night) => groups.map(({ summary }) => sorted(summary.rewards));

  test.each([
    ["replace", [0, 0.5, 0.5, 0.5]],
    ["add", [0.1, 0.65, 0.85, 1.15]],
    ["min", [0, 0.4, 0.5, 0.5]],
  ] as const)("a check is combined by %s, and both are kept", async (combine, expected) => {
    const result = await night(
      { judge: { rejudgeGroups: 0 }, reward: { check: "check.js", combine, weight: 0.5 } },
      { rewardCheck: check },
    );
    for (const rewards of sortedRewards(result))
      for (const [index, reward] of rewards.entries()) expect(reward).toBeCloseTo(expected[index] ?? -1, 12);
    for (const { summary } of result.groups) {
      expect(sorted(summary.judgeRewards)).toEqual([0.1, 0.4, 0.6, 0.9]);
      expect(summary.independent).toMatchObject({ combined: combine, feedback: null });
      expect(sorted(summary.independent?.check ?? [])).toEqual([0, 0.5, 0.5, 0.5]);
    }
  });

  test("feedback on the recorded conversation bounds members that are it over again, and no other", async () => {
    await world.feedback("chat-ann", "useless");
    const result = await night({ judge: { rejudgeGroups: 0 }, reward: { feedback: "thumbs" } });
    const bounded = result.groups.filter(({ summary }) => summary.independent?.feedback !== null);
    expect(bounded).toHaveLength(1);
    const [{ summary } = { summary: null }] = bounded;
    const [member] = summary?.independent?.feedback?.members ?? [];
    expect(summary?.judgeRewards[member ?? -1]).toBe(0.4);
    expect(summary?.rewards[member ?? -1]).toBe(0);
    expect(sorted(summary?.rewards)).toEqual([0, 0.1, 0.6, 0.9]);
    const unasked = await night({ judge: { rejudgeGroups: 0 }, reward: { feedback: "another_name" } });
    expect(unasked.groups.every((group) => group.summary.independent?.feedback === null)).toBe(true);
  });

  test("a check that throws leaves its groups without rewards, by name", async () => {
    const broken = {
      name: "check",
      checkAttempt: () => {
        throw new Error("no");
      },
    };
    const { groups } = await night({ judge: { rejudgeGroups: 0 }, reward: { check: "check.js" } }, { rewardCheck: broken });
    for (const { summary } of groups)
      expect(summary).toMatchObject({ verdict: "reward_check_invalid", mean: null, rewards: [null, null, null, null] });
  });
});

describe("the judge's own noise", () => {
  /** Gives every attempt what it thinks of it, ± `by` in the second asking of a group, one member up, one down. */
  const shaky = (by: number) => {
    const asked = new Map<string, number>();
    return (request: JudgeRequest): Behaviour => {
      const key =
        attemptsIn(request)[0]?.text.match(/secret of \w+/)?.[0] ?? request.messages[1]?.content.match(/secret of \w+/)?.[0] ?? "";
      const times = asked.get(key) ?? 0;
      asked.set(key, times + 1);
      const shift = { good: -by, fair: 0, poor: by, recorded: 0 };
      return scores(request, (text) => SCORES[kindOf(text)] + (times === 0 ? 0 : shift[kindOf(text)]));
    };
  };

  test("is measured on as many groups as configured, and a spread within it is no signal", async () => {
    behave = shaky(0.5);
    const { groups, runId } = await night({ judge: { rejudgeGroups: 2 } }, { kinds: ["good", "fair", "poor"] });
    // d = −.5, 0, +.5 in each of two groups: s² = 2 × .5 / (2 × 2 × 2) = .125; 1.5 s = .53 is above the groups' deviation of .33.
    expect(await noiseOf(runId)).toEqual({ deviation: expect.closeTo(Math.sqrt(0.125), 9), source: "rejudged", groups: 2 });
    expect(groups.map(({ summary }) => summary.verdict)).toEqual(groups.map(() => "spread_below_noise"));
    const step = (await world.runs.steps(runId)).find((one) => one.step === "groups-1");
    expect(step?.output).toMatchObject({ kept: 0, verdicts: { spread_below_noise: CUSTOMERS.length } });
  });

  test("of a steady judge is nothing", async () => {
    const { groups, runId } = await night({ judge: { rejudgeGroups: 3 } });
    expect(await noiseOf(runId)).toEqual({ deviation: 0, source: "rejudged", groups: 3 });
    expect(groups.every(({ summary }) => summary.verdict === "kept")).toBe(true);
  });

  test("by a calibration is taken as it is, without asking again", async () => {
    const before = server.requests.length;
    const { groups, runId } = await night({ judge: { rejudgeGroups: 2 } }, { judgeDeviation: () => Promise.resolve(0.3) });
    expect(await noiseOf(runId)).toEqual({ deviation: 0.3, source: "calibration", groups: 0 });
    expect(server.requests.length - before).toBe(CUSTOMERS.length);
    // 1.5 × .3 = .45 is above the deviation of .9 .6 .4 .1, .29.
    expect(groups.every(({ summary }) => summary.verdict === "spread_below_noise")).toBe(true);
  });

  test("as configured is the least, and what counts where nothing was measured", async () => {
    const asked = await night({ judge: { rejudgeGroups: 0 }, night: { judgeDeviation: 0.3 } });
    expect(await noiseOf(asked.runId)).toEqual({ deviation: 0.3, source: "config", groups: 0 });
    const steady = await night({ judge: { rejudgeGroups: 2 }, night: { judgeDeviation: 0.3 } });
    expect(await noiseOf(steady.runId)).toEqual({ deviation: 0.3, source: "config", groups: 2 });
    for (const { groups } of [asked, steady]) expect(groups.every(({ summary }) => summary.verdict === "spread_below_noise")).toBe(true);
  });

  test("is not in rewards that a check has replaced", async () => {
    const check = {
      name: "check",
      checkAttempt: ({ messages }: { messages: readonly object[] }) => (kindOf(JSON.stringify(messages.at(-1))) === "poor" ? 0 : 0.2),
    };
    const { groups } = await night(
      { judge: { rejudgeGroups: 0 }, reward: { check: "check.js", combine: "replace" } },
      { rewardCheck: check, judgeDeviation: () => Promise.resolve(0.3) },
    );
    expect(groups.every(({ summary }) => summary.verdict === "kept")).toBe(true);
  });
});

test("a spent budget leaves what is scored, and says how many questions were not asked", async () => {
  behave = (request) => ({ ...byContent(request), usage: { prompt_tokens: 1_000, completion_tokens: 100 } });
  const { groups, runId } = await night({ judge: { maxTokensPerRun: 3_000, rejudgeGroups: 2 } });
  const verdicts = groups.map(({ summary }) => summary.verdict);
  expect(verdicts.filter((verdict) => verdict === "kept").length).toBeGreaterThan(0);
  expect(verdicts.filter((verdict) => verdict === "judge_budget_spent").length).toBeGreaterThan(0);
  for (const { summary } of groups.filter(({ summary }) => summary.verdict !== "kept"))
    expect(summary).toMatchObject({ judge: null, mean: null, rewards: [null, null, null, null] });
  const [spending] = await readSpending(database, runId);
  expect(spending?.refused).toBeGreaterThan(0);
});

test("a judge that stays away or talks nonsense leaves its groups unscored, never zero", async () => {
  behave = () => ({ status: 503, headers: { "retry-after-ms": "1", "retry-after": "0.001" } });
  const away = await night({});
  for (const { summary } of away.groups)
    expect(summary).toMatchObject({ verdict: "judge_unavailable", mean: null, judge: null, rewards: [null, null, null, null] });
  behave = () => ({ refusal: "no" });
  const nonsense = await night({});
  for (const { summary } of nonsense.groups)
    expect(summary).toMatchObject({ verdict: "judge_reply_invalid", mean: null, rewards: [null, null, null, null] });
});

test("a night that was killed and judges again with the network off gives the same rewards", async () => {
  const first = await night({ judge: { anchor: true, rejudgeGroups: 2 } });
  const before = server.requests.length;
  const { kysely } = database;
  await kysely.deleteFrom("groups").where("run_id", "=", first.runId).execute();
  await kysely.deleteFrom("run_steps").where("run_id", "=", first.runId).where("step", "in", ["groups-1", "noise"]).execute();
  behave = () => ({ status: 500, headers: { "retry-after-ms": "1" } });
  const second = await night({ judge: { anchor: true, rejudgeGroups: 2 } }, { runId: first.runId });
  expect(server.requests).toHaveLength(before);
  expect(second.groups.map(({ summary }) => ({ ...summary, judge: null }))).toEqual(
    first.groups.map(({ summary }) => ({ ...summary, judge: null })),
  );
  expect(second.groups.every(({ summary }) => summary.judge?.cached === true)).toBe(true);
});
