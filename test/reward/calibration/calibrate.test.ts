import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../../src/log.ts";
import { calibrateJudge, type CalibrateDeps, type HumanLabel } from "../../../src/reward/calibration/calibrate.ts";
import { measureJudge, type Observation } from "../../../src/reward/calibration/measure.ts";
import { createRulerPasses, createScriptedPasses } from "../../../src/reward/calibration/passes.ts";
import { createJudgeClient, type LlmJudgeConfig } from "../../../src/reward/judge-client.ts";
import { createRulerJudge } from "../../../src/reward/judge-ruler.ts";
import { createScriptedJudge } from "../../../src/reward/judge-scripted.ts";
import type { ScriptedModule } from "../../../src/reward/scripted-module.ts";
import { nightshiftError } from "../../../src/errors.ts";
import type { Database } from "../../../src/store/database.ts";
import { memoryDatabase } from "../../store/memory-database.ts";
import { text } from "../groups.ts";
import { startJudgeServer, type JudgeRequest } from "../judge-server.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

/** An attempt whose quality is written in it, for judges that read it. */
const attempt = (name: string, quality: number) => ({
  messages: [text("user", "help"), text("assistant", `${name} quality ${quality}`)],
  end: { status: "completed" as const },
});
const qualityIn = (said: string) => Number(/quality ([\d.]+)/.exec(said)?.[1]);

function pairs(count: number): HumanLabel[] {
  return Array.from({ length: count }, (_, index) => ({
    ...{ kind: "pair" as const, id: `pair-${index}`, tools: [], sources: [], human: [1, 0] },
    members: [attempt(`good ${index}`, 0.8), attempt(`bad ${index}`, 0.4)],
  }));
}

function scripted(score: (qualities: number[]) => number[]): Pick<CalibrateDeps, "judge" | "passes"> {
  const module: ScriptedModule = {
    ...{ name: "test", judgeRubric: "r", pairRubric: "r", comparePair: () => 0.5 },
    scoreGroup: (members) => score(members.map(({ messages }) => qualityIn(JSON.stringify(messages)))),
  };
  return { judge: createScriptedJudge(module), passes: createScriptedPasses(module) };
}

const options = { id: "c", repeats: 2, seed: 1, prices: null, signal: new AbortController().signal, progress: () => undefined };
const deps = { sleep: () => Promise.resolve() };

describe("a judge's habits are found", () => {
  test("one that sees quality agrees with people and with itself", async () => {
    const report = await calibrateJudge(pairs(40), options, { ...deps, ...scripted((qualities) => qualities) });
    expect(report.agreement).toMatchObject({ value: 1, labels: 40, pairs: 40 });
    // Wilson at 40 of 40: 1 / (1 + 1.96²/40).
    expect(report.agreement?.low).toBeCloseTo(0.9124, 4);
    expect(report.selfAgreement?.value).toBe(1);
    expect(report.repeatDeviation).toMatchObject({ value: 0, low: 0, high: 0 });
    expect(report.positionBias?.value).toBe(0);
    expect(report.kendallTau).toBeNull();
  });

  test("one that gives the first place a tenth more has that as its bias, though its order stays right", async () => {
    const first = scripted((qualities) => qualities.map((quality, slot) => quality + (slot === 0 ? 0.1 : 0)));
    const report = await calibrateJudge(pairs(40), options, { ...deps, ...first });
    expect(report.positionBias?.value).toBeCloseTo(-0.1, 12);
    // Each attempt is once first and once last: scores .1 apart deviate by √(.1²/2).
    expect(report.repeatDeviation?.value).toBeCloseTo(Math.sqrt(0.005), 12);
    expect(report.agreementBySlot).toMatchObject({ preferredFirst: { value: 1, labels: 40 }, preferredLast: { value: 1, labels: 40 } });
  });

  test("one that only sees the place agrees where the better one is first, contradicts itself, and counts half", async () => {
    const report = await calibrateJudge(pairs(40), options, {
      ...deps,
      ...scripted((qualities) => qualities.map((_, slot) => (slot === 0 ? 1 : 0))),
    });
    expect(report.agreementBySlot).toMatchObject({ preferredFirst: { value: 1 }, preferredLast: { value: 0 } });
    expect(report.selfAgreement?.value).toBe(0);
    expect(report.positionBias?.value).toBeCloseTo(-1, 12);
  });
});

test("figures by hand: a set of three and a pair that the judge ties", () => {
  const observations: Observation[] = [
    // Of the pairs (0,1) (0,2) (1,2) the judge has two right: agreement 2/3, τ = (2 − 1)/3.
    { kind: "scores", human: [5, 3, 1], rewards: [0.9, 0.2, 0.4], passes: [] },
    { kind: "pair", human: [1, 0], rewards: [0.5, 0.5], passes: [] },
    // No opinion: in nothing.
    { kind: "pair", human: [0, 0], rewards: [0.1, 0.9], passes: [] },
  ];
  const figures = measureJudge(observations, 1);
  expect(figures.agreement).toMatchObject({ labels: 2, pairs: 4 });
  expect(figures.agreement?.value).toBeCloseTo((2 / 3 + 1 / 2) / 2, 12);
  expect(figures.kendallTau?.value).toBeCloseTo(1 / 3, 12);
  expect(figures).toMatchObject({ positionBias: null, selfAgreement: null, repeatDeviation: null });
});

test("too few opinions are no calibration", async () => {
  const labels = [...pairs(19), ...pairs(30).map((label) => ({ ...label, human: [0, 0] }))];
  await expect(calibrateJudge(labels, options, { ...deps, ...scripted((all) => all) })).rejects.toMatchObject({
    code: "calibration_too_small",
  });
});

test("an outage is no data: a few labels go unanswered and are counted, many and nothing is measured", async () => {
  const seeing = scripted((qualities) => qualities);
  const error = nightshiftError("judge_unavailable", { model: "m", problem: "down" });
  const failing = (every: number): Pick<CalibrateDeps, "judge" | "passes"> => ({
    ...seeing,
    judge: {
      score: async (group, at) =>
        Number(group.scenarioId.split("-")[1]) % every === 0
          ? { status: "retryable", retryAfterMs: 1, error }
          : seeing.judge.score(group, at),
    },
  });
  const report = await calibrateJudge(pairs(40), options, { ...deps, ...failing(10) });
  expect(report).toMatchObject({ labels: { pairs: 36, scores: 0, unanswered: 4 }, agreement: { labels: 36 } });
  await expect(calibrateJudge(pairs(40), options, { ...deps, ...failing(2) })).rejects.toMatchObject({
    code: "calibration_incomplete",
    message: expect.stringContaining("20 of 40 labels (judge_unavailable)"),
  });
});

describe("an LLM judge", () => {
  /** Scores by what each attempt says of itself, a tenth more for the place shown last. */
  const reply = ({ messages }: JudgeRequest) => {
    const shown = [...(messages.at(1)?.content ?? "").matchAll(/<trajectory id="(\d+)">[\s\S]*?quality ([\d.]+)/g)];
    return shown.map(([, id = "", quality], slot) => ({
      id,
      explanation: "",
      score: Number(quality) + (slot === shown.length - 1 ? 0.1 : 0),
    }));
  };

  test("is asked in the orders that were chosen, what it costs is told, and asked again it costs nothing", async () => {
    const server = await startJudgeServer((request) => ({ text: JSON.stringify({ scores: reply(request) }) }));
    const config: LlmJudgeConfig = {
      ...{ driver: "ruler", baseUrl: server.url, model: "calibrated", timeoutMs: 5_000, concurrency: 4, maxTokensPerRun: 1_000_000 },
    };
    const judgeDeps = { database, log: silentLog(), now: () => 0, env: {} };
    const llm = { judge: createRulerJudge(config, judgeDeps), passes: createRulerPasses(createJudgeClient(config, judgeDeps)) };
    const told: number[] = [];
    const asked = { ...options, prices: { input: 10, output: 100 }, progress: (done: number) => void told.push(done) };
    const report = await calibrateJudge(pairs(20), asked, { ...deps, ...llm });
    expect(report.positionBias?.value).toBeCloseTo(0.1, 12);
    expect(report.agreementBySlot).toMatchObject({ preferredFirst: { labels: 20 }, preferredLast: { labels: 20 } });
    // Three questions a label at 100 in and 10 out.
    expect(report.tokens).toEqual({ input: 6_000, output: 600 });
    expect(report.cost).toBeCloseTo(0.12, 12);
    expect(told).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));

    const again = await calibrateJudge(pairs(20), asked, { ...deps, ...llm });
    expect(again).toEqual({ ...report, tokens: { input: 0, output: 0 }, cost: 0 });
    expect(server.requests).toHaveLength(60);
    await server.close();
  });
});
