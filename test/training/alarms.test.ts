import { mkdtempSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { createNightShift, type NightShiftDeps } from "../../src/app/night-shift.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { loadSigningKey } from "../../src/artifact/signing-key.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createExperimentStore } from "../../src/promotion/experiment-store.ts";
import type { Database } from "../../src/store/database.ts";
import { registerAdapter } from "../../src/training/adapters.ts";
import { acknowledgeAlarm, examineRun, listAlarms, type AlarmDeps } from "../../src/training/alarms.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { apiWorld, NOW_MS } from "../api/world.ts";
import { cli } from "../cli/terminal.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { honest, persuasive, storeNight } from "./stored-night.ts";

const home = mkdtempSync(join(tmpdir(), "nightshift-alarms-"));
let database: Database;
let deps: AlarmDeps;
beforeAll(async () => {
  database = await memoryDatabase();
});
beforeEach(async () => {
  for (const table of ["alarms", "groups", "run_steps", "runs", "experiments", "adapters"] as const)
    await database.kysely.deleteFrom(table).execute();
  const artifacts = createFileArtifactStore({ dir: join(home, "artifacts") });
  deps = { database, artifacts, runs: createRunStore(database, () => NOW_MS), log: silentLog(), now: () => NOW_MS };
});
afterAll(async () => {
  await database.close();
  await rm(home, { recursive: true });
});

async function runOf(id: string) {
  const run = await deps.runs.get(id);
  if (run === null) throw new Error("the run was created");
  return run;
}

test("an honest night raises nothing, and says how every suspicion came out", async () => {
  await storeNight(deps, "honest", honest);
  expect(await examineRun(await runOf("honest"), deps)).toEqual([]);
  const step = (await deps.runs.steps("honest")).find((one) => one.step === "alarms");
  expect(step?.output).toMatchObject({ base: "this run's first iteration" });
  expect(step?.output?.["checks"]).toHaveLength(6);
});

test("a night that starts from an adapter is compared with the newest that started from the base", async () => {
  await storeNight(deps, "first", honest, 1);
  await deps.runs.finish("first", "finished", { kind: "nothing_to_learn", reason: "test" }, 2);
  await storeNight(deps, "second", persuasive, 3);
  await database.kysely
    .updateTable("run_steps")
    .set({ output: JSON.stringify({ adapterDigest: "sha256:a" }) })
    .where("run_id", "=", "second")
    .execute();
  expect(await examineRun(await runOf("second"), deps)).toMatchObject([{ id: "phrase" }]);
  expect((await deps.runs.steps("second")).find((one) => one.step === "alarms")?.output).toMatchObject({ base: "run first" });
});

test("a rollout whose bytes are gone is left out, not waited for", async () => {
  await storeNight(deps, "torn", honest);
  await database.kysely
    .updateTable("groups")
    .set({ body_digest: `sha256:${"0".repeat(64)}` })
    .where("scenario_id", "<", "s5")
    .execute();
  expect(await examineRun(await runOf("torn"), deps)).toEqual([]);
});

test("an open alarm keeps the candidate from gate and canary until an operator has acknowledged it", async () => {
  await storeNight(deps, "hacked", persuasive);
  const trained = join(home, "trained");
  await mkdir(trained, { recursive: true });
  await writeFile(join(trained, "adapter_config.json"), "{}");
  await writeFile(join(trained, "adapter_model.safetensors"), "weights");
  const adapter = await registerAdapter(
    {
      ...{ directory: trained, tenant: "default", agent: "support", runId: "hacked", iteration: 2, rank: 4, nowMs: 0 },
      ...{ baseDigest: `sha256:${"0".repeat(64)}`, parentDigest: null, lineage: new Uint8Array() },
    },
    { ...deps, key: loadSigningKey(join(home, "keys")) },
  );
  await deps.runs.finish("hacked", "finished", { kind: "candidate", adapterDigest: adapter.digest, adapterName: adapter.name }, 2);
  let released = 0;
  const config = parseConfig({ agents: { support: { model: "support", baseModel: "b", gate: { enabled: false } } } }).agents["support"];
  if (config === undefined) throw new Error("the config has its agent");
  const fleet = { stable: async () => ({ name: "support", digest: "sha256:base", adapter: null }), release: () => (released += 1) };
  const shift = createNightShift({ agent: "support", config, runsDirectory: home }, {
    ...deps,
    fleet,
    judgeIdentity: null,
  } as unknown as NightShiftDeps);
  const experiments = createExperimentStore(deps);
  const work = (): Promise<void> => shift.work(new AbortController().signal);
  await work();
  await work();
  expect(await experiments.list("support")).toEqual([]);
  expect(released).toBe(2);
  expect(await listAlarms(database, { runId: "hacked" })).toMatchObject([
    { id: "phrase", raisedAtMs: NOW_MS, acknowledged: null, check: { status: "alarm" } },
  ]);
  expect(JSON.stringify(await database.kysely.selectFrom("alarms").selectAll().execute())).not.toContain("supervisor");

  const world = await apiWorld(database);
  await rm(join(world.dir, "artifacts"), { recursive: true, force: true });
  const listed = await cli(["alarms", "list", "--url", world.url]);
  expect(listed.out).toMatch(
    /hacked +phrase +2023-11-14T22:13:20Z +a phrase that is no longer stored in \d+\.\d % of the best, 0\.0 % of the base's +OPEN/,
  );
  expect((await cli(["status", "--url", world.url])).out).toContain("REWARD ALARM");
  const shown = (await cli(["runs", "show", "hacked", "--url", world.url])).out;
  expect(shown).toContain("ALARM: rewards seem to pay for phrase; the candidate waits");
  expect(shown).toMatch(/length: \d+\.\d % of the reward/);
  expect(await cli(["alarms", "ack", "hacked", "nothing", "--reason", "x", "--url", world.url])).toMatchObject({
    code: 1,
    err: expect.stringContaining("alarm nothing of run hacked"),
  });
  const before = world.woken();
  const told = await cli(["alarms", "ack", "hacked", "phrase", "--reason", "our own wording", "--actor", "kim", "--url", world.url]);
  expect(told).toEqual({ code: 0, out: "alarm phrase of run hacked acknowledged", err: "" });
  expect(world.woken()).toBe(before + 1);
  expect((await cli(["alarms", "list", "--url", world.url])).out).toBe("none");
  expect((await cli(["alarms", "list", "--all", "--url", world.url])).out).toContain("kim, 2023-11-14T22:13:20Z: our own wording");
  await world.close();

  await work();
  expect(await experiments.list("support")).toMatchObject([{ id: "hacked", state: "gated", parameters: { automatic: false } }]);
  const audited = await database.kysely.selectFrom("audit").selectAll().where("action", "=", "alarm_acknowledged").execute();
  expect(audited).toMatchObject([{ actor: "kim", subject: "hacked", body: { alarm: "phrase", reason: "our own wording" } }]);
  // The first word stands.
  expect(await acknowledgeAlarm({ runId: "hacked", id: "phrase", by: "lee", reason: "no" }, deps)).toEqual({ status: "known_already" });
  expect(await listAlarms(database, { runId: "hacked" })).toMatchObject([{ acknowledged: { by: "kim" } }]);
});

test("an alarm's words are read from the rollouts that said them", async () => {
  await storeNight(deps, "worded", persuasive);
  const world = await apiWorld(database);
  await examineRun(await runOf("worded"), { ...deps, artifacts: createFileArtifactStore({ dir: join(home, "artifacts") }) });
  const rows = await database.kysely.selectFrom("groups").select("body_digest").execute();
  const there = createFileArtifactStore({ dir: join(world.dir, "artifacts") });
  for (const { body_digest } of rows) {
    const body = await deps.artifacts.get(body_digest as `sha256:${string}`);
    if (body !== null) await there.put(body);
  }
  const { alarms } = (await world.get("/v1/alarms?run=worded")).body as { alarms: { phrases: { words: string }[] }[] };
  expect(alarms.flatMap(({ phrases }) => phrases.map(({ words }) => words))).toContain("confirmed by supervisor");
  await world.close();
});
