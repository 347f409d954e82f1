import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { scriptedIdentity } from "../../src/reward/calibration/identity.ts";
import { createScriptedPasses } from "../../src/reward/calibration/passes.ts";
import { createScriptedJudge } from "../../src/reward/judge-scripted.ts";
import type { Calibrator } from "../../src/reward/calibration/calibrate.ts";
import type { ScriptedModule } from "../../src/reward/scripted-module.ts";
import { mayPromoteAlone } from "../../src/training/judge-trust.ts";
import { createExperimentStore } from "../../src/promotion/experiment-store.ts";
import type { Database } from "../../src/store/database.ts";
import { QUICKSTART } from "../bench/canary/simulate.ts";
import { cli } from "../cli/terminal.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { parseConfig } from "../../src/config.ts";
import { apiWorld, NOW_MS, type ApiWorld } from "./world.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-labels-"));
let database: Database;
let world: ApiWorld;
/** What the judge prefers, in the last words of an attempt. */
let likes: (words: string) => number = () => 0.5;

const module: ScriptedModule = {
  ...{ name: "taste.ts", judgeRubric: "taste-1", pairRubric: "r", comparePair: () => 0.5 },
  scoreGroup: (members) => members.map(({ messages }) => likes(JSON.stringify(messages.at(-1)))),
};
const calibrator: Calibrator = {
  judge: createScriptedJudge(module),
  passes: createScriptedPasses(module),
  identity: scriptedIdentity(module, "source"),
};

beforeAll(async () => {
  database = await memoryDatabase();
});
beforeEach(async () => {
  await database.kysely.deleteFrom("judge_calibrations").execute();
  await database.kysely.deleteFrom("runs").execute();
  await world?.close();
  world = await apiWorld(database, { calibrator: () => calibrator, agent: { judge: { driver: "scripted", module: "taste.ts" } } });
});
afterAll(async () => {
  await world.close();
  await database.close();
  rmSync(dir, { recursive: true });
});

const attempt = (words: string) => ({
  from: "messages",
  messages: [
    { role: "user", content: "help" },
    { role: "assistant", content: words },
  ],
});

/** A file of pairs of which people always prefer the good one. */
function labels(count: number, change: (line: object, index: number) => unknown = (line) => line): string {
  const lines = Array.from({ length: count }, (_, index) =>
    change({ kind: "pair", a: attempt(`good ${index}`), b: attempt(`bad ${index}`), preferred: "a" }, index),
  );
  const file = join(dir, `labels-${Math.random()}.jsonl`);
  writeFileSync(file, lines.map((line) => JSON.stringify(line)).join("\n"));
  return file;
}

const sees = (words: string): number => (words.includes("good") ? 0.9 : 0.2);
/** Right in every other pair: agreement ½. */
const guesses = (words: string): number => (Number(/\d+/.exec(words)?.[0]) % 2 === 0 ? sees(words) : 1 - sees(words));

const calibrate = (file: string, ...more: string[]) => cli(["judge", "calibrate", file, "--url", world.url, "--actor", "kim", ...more]);
// A slow machine tells its progress on stderr.
const done = { code: 0 };

describe("nightshift judge", () => {
  it("calibrates, keeps the record with the judge's identity, and shows it with its age", async () => {
    likes = sees;
    const told = await calibrate(labels(30));
    expect(told).toMatchObject(done);
    expect(told.out).toMatch(/agreement with people +1\.000 +0\.886 to 1\.000 +30 pairs of 30 labels, Wilson over labels/);
    expect(told.out).toContain("taste.ts (SCRIPTED), rubric taste-1");
    const shown = await cli(["judge", "show", "--url", world.url, "--json"]);
    expect(JSON.parse(shown.out)).toMatchObject({
      ...{ agent: "support", status: "calibrated", agreement: 1, minAgreement: 0.7, calibratedAtMs: NOW_MS, ageMs: 0 },
      identity: calibrator.identity,
      calibrations: [{ actor: "kim", identity: calibrator.identity, report: { agreement: { labels: 30 } } }],
    });
    expect((await cli(["judge", "show", "--url", world.url])).out).toContain("2023-11-14T22:13:20Z");
    expect((await cli(["status", "--url", world.url])).out).toContain(
      "taste.ts (scripted), agrees with people on 100.0 % of pairs; calibrated 0.0 s ago",
    );
    expect((await world.get("/v1/status")).body.agents[0]).toMatchObject({ judgeTrust: { status: "calibrated" }, promotesOnItsOwn: true });
    const audited = await database.kysely.selectFrom("audit").select(["actor", "action", "subject"]).execute();
    expect(audited).toContainEqual({ actor: "kim", action: "judge_calibrated", subject: "support" });
  });

  it("holds for that very judge alone: with another source the same script is another", async () => {
    likes = sees;
    await calibrate(labels(20));
    const other = { ...calibrator, identity: scriptedIdentity(module, "edited") };
    const beside = await apiWorld(database, { calibrator: () => other, agent: { judge: { driver: "scripted", module: "taste.ts" } } });
    expect((await beside.get("/v1/judge?agent=support")).body).toMatchObject({
      status: "uncalibrated",
      calibrations: [{ agent: "support" }],
    });
    expect((await beside.get("/v1/status")).body.agents[0]).toMatchObject({ promotesOnItsOwn: false });
    await beside.close();
  });

  it.each([
    ["a file that is not there", () => join(dir, "none.jsonl"), 1, /^the labels .*none\.jsonl cannot be read: ENOENT/],
    [
      "a bad line",
      () => labels(20, (line, index) => (index === 7 ? { ...line, preferred: 1 } : line)),
      1,
      /jsonl:8: preferred: .*\(received 1\)\n {2}fix: Correct the line/,
    ],
    [
      "an attempt that is not stored",
      () => labels(20, (line, index) => (index === 3 ? { ...line, a: { from: "trajectory", id: "gone" } } : line)),
      1,
      /:4: a: no trajectory of agent support is stored/,
    ],
    [
      "an attempt against itself",
      () => labels(20, (line, index) => (index === 0 ? { ...line, b: attempt("good 0") } : line)),
      1,
      /:1: b: the same attempt as another/,
    ],
    ["too few", () => labels(19), 1, /19 labels prefer one attempt to another, a calibration needs 20/],
  ])("refuses %s", async (_, file, code, says) => {
    likes = sees;
    const told = await calibrate(file());
    expect(told).toMatchObject({ code, out: "" });
    expect(told.err).toMatch(says);
    expect((await world.get("/v1/judge?agent=support")).body.calibrations).toEqual([]);
  });

  it("is nothing to measure without a judge, and an operator's to ask for", async () => {
    const bare = await apiWorld(database);
    expect(
      await bare.post("/v1/judge/calibrations", {
        agent: "support",
        labels: [{ line: 1, label: { kind: "pair", a: attempt("a"), b: attempt("b"), preferred: "a" } }],
      }),
    ).toMatchObject({
      status: 422,
      body: { error: { code: "run_refused" } },
    });
    await bare.close();
  });
});

describe("a judge below its agreement", () => {
  it("is refused a run, and forced only by name, which the run's record and every output say", async () => {
    likes = guesses;
    expect(await calibrate(labels(40))).toMatchObject(done);
    const refused = await cli(["run", "--url", world.url]);
    expect(refused).toMatchObject({ code: 3, out: "" });
    expect(refused.err).toMatch(/its judge agrees with people on 0\.50 of pairs, below judge\.minAgreement 0\.7\n {2}fix: .*--force-judge/);
    expect((await cli(["status", "--url", world.url])).out).toContain("JUDGE BELOW ITS MINIMAL AGREEMENT");

    const started = await cli(["run", "--url", world.url, "--force-judge", "--actor", "kim", "--json"]);
    const { runId } = JSON.parse(started.out) as { runId: string };
    const run = (await world.get(`/v1/runs/${runId}`)).body;
    expect(run.judge).toMatchObject({ status: "below_agreement", agreement: 0.5, minAgreement: 0.7, forcedBy: "kim", driver: "scripted" });
    expect((await cli(["runs", "show", runId, "--url", world.url])).out).toContain(
      "JUDGE FORCED by kim: it agrees with people on 50.0 % of pairs, 70.0 % are required",
    );
    expect(await mayPromoteAlone(run, config(), calibrator.identity, database)).toBe(false);
    expect(await mayPromoteAlone(run, config({ requireCalibration: false }), calibrator.identity, database)).toBe(true);
  });

  it("runs by config too, and by calibrating it anew", async () => {
    likes = guesses;
    await calibrate(labels(40));
    await world.close();
    world = await apiWorld(database, {
      calibrator: () => calibrator,
      agent: { judge: { driver: "scripted", module: "taste.ts", allowLowAgreement: true } },
    });
    const { runId } = JSON.parse((await cli(["run", "--url", world.url, "--json"])).out) as { runId: string };
    expect((await world.get(`/v1/runs/${runId}`)).body.judge).toMatchObject({ forcedBy: "config" });
    await database.kysely.deleteFrom("runs").execute();
    // Of records of one time the other may be the newest.
    await database.kysely
      .updateTable("judge_calibrations")
      .set({ created_at_ms: NOW_MS - 1 })
      .execute();
    likes = sees;
    await calibrate(labels(40));
    const again = JSON.parse((await cli(["run", "--url", world.url, "--json"])).out) as { runId: string };
    const run = (await world.get(`/v1/runs/${again.runId}`)).body;
    expect(run.judge).toMatchObject({ status: "calibrated", forcedBy: null, repeatDeviation: 0 });
    expect(await mayPromoteAlone(run, config(), calibrator.identity, database)).toBe(true);
    expect(await mayPromoteAlone(run, config(), scriptedIdentity(module, "edited"), database)).toBe(false);
  });
});

function config(change: Record<string, unknown> = {}) {
  const agent = { model: "m", baseModel: "b", judge: { driver: "scripted", module: "taste.ts" }, ...change };
  const parsed = parseConfig({ agents: { support: agent } }).agents["support"];
  if (parsed === undefined) throw new Error("the config has its agent");
  return parsed;
}

it("proof without a calibrated judge waits, and says for what", async () => {
  const store = createExperimentStore({ database, now: () => NOW_MS });
  const canary = { ...QUICKSTART, minCandidateUnits: 0, alpha: 0.5, lambda0: 5 };
  await store.submit({
    ...{
      id: "proven",
      tenant: "default",
      agent: "support",
      model: "support",
      runId: null,
      salt: "s",
      canary,
      horizonMs: 1_000,
      gate: null,
    },
    ...{ candidate: { name: "c", digest: "sha256:c" }, stable: { name: "support", digest: "sha256:base" }, automatic: false },
  });
  const unit = (index: number) => {
    const arm = index % 2 === 0 ? ("candidate" as const) : ("stable" as const);
    const at = NOW_MS + index;
    return {
      kind: "unit" as const,
      atMs: at,
      unit: {
        key: `k${index}`,
        arm,
        p: 0.5,
        routeVersion: 1,
        assignedAtMs: at,
        endedAtMs: at,
        trajectoryId: `t${index}`,
        outcome: arm === "candidate" ? 1 : 0,
        errors: {},
      },
    };
  };
  await store.append("proven", 0, [
    { kind: "boundary", atMs: NOW_MS, cause: "start", step: 0 },
    ...Array.from({ length: 60 }, (_, index) => unit(index)),
  ]);
  expect((await world.get("/v1/experiments/proven")).body).toMatchObject({ conclusion: null, waitsFor: { reason: "judge_uncalibrated" } });
});
