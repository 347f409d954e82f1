import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import { readSpending } from "../../src/reward/client/budget.ts";
import { checkSecondJudge, secondOpinion } from "../../src/reward/hacking/second-judge.ts";
import type { LlmJudgeConfig } from "../../src/reward/judge-client.ts";
import { createRulerJudge } from "../../src/reward/judge-ruler.ts";
import type { Judge, JudgeResult } from "../../src/reward/judge.ts";
import type { Database } from "../../src/store/database.ts";
import { examineRun, type AlarmDeps } from "../../src/training/alarms.ts";
import { auditJudge, auditOfRun } from "../../src/training/judge-audit.ts";
import { loadGroups } from "../../src/training/iteration.ts";
import type { NightDeps } from "../../src/training/night-context.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { apiWorld, NOW_MS } from "../api/world.ts";
import { cli } from "../cli/terminal.ts";
import { attemptsIn, startJudgeServer } from "../reward/judge-server.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { honest, storeNight } from "./stored-night.ts";

describe("two opinions", () => {
  test("are counted by pairs that the rewards tell apart; a tie is half a pair", () => {
    const opinion = secondOpinion(
      [
        // 0.9 > 0.5 the same; 0.9 > 0.1 tied; 0.5 > 0.1 the other way round: 1.5 of 3.
        { rewarded: [0.9, 0.5, 0.1], second: [0.7, 0.4, 0.7] },
        // One pair is too close to count, two are the same.
        { rewarded: [0.5, 0.52, 0.2], second: [0.9, 0.8, 0.1] },
        { rewarded: [0.5, 0.5], second: [0, 1] },
      ],
      0.05,
    );
    expect(opinion).toMatchObject({ groups: 2, pairs: 5 });
    // Wilson of 3.5 of 5, as of two units: z² = 3.8415; centre (0.7 + 0.9604) / 2.9207; half 1.96 √(0.105 + 0.2401) / 2.9207.
    expect(opinion.agreement?.value).toBeCloseTo(0.7, 12);
    expect(opinion.agreement?.low).toBeCloseTo(0.1743, 3);
    expect(opinion.agreement?.high).toBeCloseTo(0.9627, 3);
  });

  test("count a difference that floating point makes a little smaller", () => {
    expect(secondOpinion([{ rewarded: [0.9, 0.85], second: [1, 0] }], 0.05).pairs).toBe(1);
  });

  const of = (share: number, groups: number) => ({
    groups,
    pairs: 4 * groups,
    agreement: { value: share, low: share - 0.2, high: share + 0.2 },
  });
  test.each([
    [of(0.45, 20), "alarm"],
    [of(0.51, 20), "fine"],
    [of(0.1, 9), "not_enough_data"],
    [{ groups: 0, pairs: 0, agreement: null }, "not_enough_data"],
  ] as const)("%o below 0.7 surely: %s", (opinion, status) => {
    expect(checkSecondJudge(opinion, 0.7).status).toBe(status);
  });
});

const home = mkdtempSync(join(tmpdir(), "nightshift-audit-"));
let database: Database;
let deps: AlarmDeps;
beforeAll(async () => {
  database = await memoryDatabase();
});
beforeEach(async () => {
  for (const table of ["alarms", "groups", "run_steps", "runs"] as const) await database.kysely.deleteFrom(table).execute();
  const artifacts = createFileArtifactStore({ dir: join(home, "artifacts") });
  deps = { database, artifacts, runs: createRunStore(database, () => NOW_MS), log: silentLog(), now: () => NOW_MS };
});
afterAll(async () => {
  await database.close();
  await rm(home, { recursive: true });
});

const llm = { driver: "ruler", model: "second", timeoutMs: 5_000 };
function configOf(audit: Record<string, unknown> | undefined): AgentConfig {
  const judge = { driver: "ruler", model: "first", ...(audit === undefined ? {} : { audit: { ...llm, ...audit } }) };
  return parseConfig({ agents: { support: { model: "support", baseModel: "b", judge } } }).agents["support"] as AgentConfig;
}

/** A second judge that thinks of every attempt what `opinion` makes of its reward, or has no answer. */
async function audited(runId: string, audit: Record<string, unknown> | undefined, opinion: (reward: number) => number | null) {
  const known = new Map((await loadGroups(database, runId)).map(({ id, summary }) => [id, summary.judgeRewards]));
  const asked: string[] = [];
  const judge: Judge = {
    score(group): Promise<JudgeResult> {
      asked.push(group.groupId);
      const rewards = (known.get(group.groupId) ?? []).map((reward) => opinion(reward ?? 0));
      if (rewards.includes(null)) {
        const error = nightshiftError("judge_budget_spent", { model: "second", used: "all", budget: "all" });
        return Promise.resolve({ status: "rejected", error });
      }
      const nothing = rewards.map(() => null);
      return Promise.resolve({
        ...{ status: "scored", rewards, spreads: nothing, explanations: nothing, anchor: null },
        provenance: {
          ...{ driver: "ruler", model: "second", rubricVersion: "outcome-1", promptHash: "", inputTokens: 0, outputTokens: 0 },
          ...{ cost: null, cached: false, passes: 1, elided: false },
        },
      });
    },
  };
  const options = { runId, agent: "support", config: configOf(audit), runsDirectory: home, signal: new AbortController().signal };
  await auditJudge(options, { ...deps, auditJudge: judge, sleep: () => Promise.resolve() } as unknown as NightDeps & {
    sleep: () => Promise<void>;
  });
  const run = await deps.runs.get(runId);
  if (run === null) throw new Error("the run was created");
  return { asked, alarms: await examineRun(run, deps), found: await auditOfRun(deps.runs, runId) };
}

test("a second judge that agrees is recorded with its interval, and raises nothing", async () => {
  await storeNight(deps, "same", honest);
  const { alarms, found, asked } = await audited("same", {}, (reward) => reward / 2);
  expect(alarms).toEqual([]);
  expect(asked).toHaveLength(20);
  expect(found).toMatchObject({ model: "second", rubricVersion: "outcome-1", drawn: 20, unanswered: 0, groups: 20 });
  // Wilson of all, of twenty units: 1 / (1 + z² / 20).
  expect(found?.agreement).toEqual({ value: 1, low: expect.closeTo(1 / (1 + 3.841459 / 20), 5) as number, high: 1 });
  const step = (await deps.runs.steps("same")).find((one) => one.step === "alarms");
  expect(step?.output?.["checks"]).toHaveLength(7);
});

test("one that sees it the other way round is an alarm, and the candidate waits like with any other", async () => {
  await storeNight(deps, "turned", honest);
  const { alarms, found } = await audited("turned", { groups: 12 }, (reward) => 1 - reward);
  expect(found).toMatchObject({ drawn: 12, agreement: { value: 0 } });
  expect(alarms).toMatchObject([{ id: "second_judge", acknowledged: null, check: { status: "alarm", groups: 12 } }]);
  const world = await apiWorld(database);
  const listed = await cli(["alarms", "list", "--url", world.url]);
  expect(listed.out).toMatch(
    /turned +second_judge .*second judge: ALARM, 0\.0 % of pairs in the same order, 0\.0 % to 24\.2 % \(\d+ of 12 groups\)/,
  );
  const shown = await cli(["runs", "show", "turned", "--url", world.url]);
  expect(shown.out).toContain("ALARM: a second judge sees the attempts otherwise; the candidate waits");
  await world.close();
});

test("the sample is the seed's, and what killed runs have asked is not drawn anew", async () => {
  await storeNight(deps, "seeded", honest);
  const first = await audited("seeded", { groups: 5 }, (reward) => reward);
  expect(first.found?.check.status).toBe("not_enough_data");
  await database.kysely.deleteFrom("run_steps").where("run_id", "=", "seeded").where("step", "=", "audit").execute();
  const again = await audited("seeded", { groups: 5 }, (reward) => reward);
  expect(again.asked).toEqual(first.asked);
  expect((await audited("seeded", { groups: 5 }, () => 0)).asked).toEqual([]);
});

test("no answer is no data: neither agreement nor disagreement", async () => {
  await storeNight(deps, "silent", honest);
  let left = 8;
  const { alarms, found } = await audited("silent", {}, (reward) => ((left -= 1 / 8) <= 0 ? null : 1 - reward));
  expect(alarms).toEqual([]);
  expect(found).toMatchObject({ drawn: 20, check: { status: "not_enough_data" } });
  expect(found?.unanswered).toBe(20 - (found?.groups ?? 0));
});

test.each([[undefined], [{ groups: 0 }]])("nobody is asked where it is not wanted: %o", async (audit) => {
  await storeNight(deps, "unasked", honest);
  const { asked, found } = await audited("unasked", audit, () => 1);
  expect({ asked, found }).toEqual({ asked: [], found: null });
});

test("over HTTP it asks under its own rubric and pays from its own budget", async () => {
  await storeNight(deps, "paid", honest);
  const server = await startJudgeServer((request) => ({
    text: JSON.stringify({ scores: attemptsIn(request).map(({ id }, place) => ({ id, explanation: "done", score: place / 10 })) }),
  }));
  const config = { ...configOf({ baseUrl: server.url, groups: 3 }).judge?.audit } as LlmJudgeConfig;
  const judge = createRulerJudge(config, { database, log: silentLog(), now: () => NOW_MS, env: {} }, { role: "audit", rubric: "outcome" });
  const options = {
    runId: "paid",
    agent: "support",
    config: configOf({ groups: 3 }),
    runsDirectory: home,
    signal: new AbortController().signal,
  };
  await auditJudge(options, { ...deps, auditJudge: judge, sleep: () => Promise.resolve() } as unknown as NightDeps & {
    sleep: () => Promise<void>;
  });
  await server.close();
  expect(await auditOfRun(deps.runs, "paid")).toMatchObject({ model: "second", rubricVersion: "outcome-1", drawn: 3, unanswered: 0 });
  expect(server.requests).toHaveLength(3);
  expect(server.requests.every(({ messages }) => messages[0]?.content.includes("has truly been done"))).toBe(true);
  // Bodies of stored nights name the run that they were made for.
  expect(await readSpending(database, "run")).toMatchObject([{ role: "audit", model: "second", inputTokens: 300, outputTokens: 30 }]);
});
