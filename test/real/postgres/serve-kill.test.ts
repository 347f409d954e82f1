import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ExperimentView, RunView } from "../../../deploy/quickstart/control.ts";
import { createRandom } from "../../../deploy/quickstart/random.ts";
import { AGENT } from "../../../deploy/quickstart/settings.ts";
import { evidenceSchema } from "../../../src/promotion/evidence.ts";
import type { Database } from "../../../src/store/database.ts";
import { createRunStore } from "../../../src/training/run-store.ts";
import { listAdapters } from "../../../src/training/adapters.ts";
import { servePatiently } from "../../e2e/patient-crowd.ts";
import { until } from "../../e2e/processes.ts";
import { SMALL } from "../../e2e/small-shop.ts";
import { createServedShop, type ServedShop } from "./served-shop.ts";
import type { Replicas } from "./replicas.ts";

const SEED = 5;
const KILLS = 20;
/** At most this many of them before the night is over, */
const KILLS_OF_THE_NIGHT = 8;
/** and so many while the candidate waits for its proof; the others while it has traffic. */
const KILLS_BEFORE_THE_CANARY = 2;
const NIGHT_LIMIT_MS = 900_000;
const CANARY_LIMIT_MS = 600_000;
const RUN = "6f1d2f8e-0000-4000-8000-000000000001";
const ENDED = new Set(["promoted", "rolled_back", "expired", "superseded", "refused"]);
/** Sure to promote what is not far worse; the statistics have tests of their own. */
const CANARY = {
  ...{ mode: "non-inferior", delta: 0.45, lambda0: 0.5, maxUnits: 400, lookEvery: 2, dwellMs: 60_000, deadlineMs: CANARY_LIMIT_MS },
  ...{ ramp: [{ weight: 0.3, untilUnits: 8 }, { weight: 0.5 }], minCandidateUnits: 4 },
};

/** On a busy machine a trainer takes its time to start. */
const NIGHT = { ...(SMALL["night"] as object), heartbeatTimeoutMs: 300_000, batchDeadlineMs: 600_000 };

let site: ServedShop;
beforeAll(async () => {
  site = await createServedShop({ contacts: 40, seed: SEED, agent: { canary: CANARY, night: NIGHT } });
});
afterAll(() => site?.close());

function serve(customers: ServedShop["day"]["customers"], name: string, isOver: () => boolean, isTold: boolean): Promise<number> {
  // Before the control service runs nobody can be told, and nobody asks.
  const control = isTold
    ? site.control
    : { ...site.control, status: () => Promise.resolve({} as never), feedback: () => Promise.resolve() };
  return servePatiently(customers, { agentUrl: site.agentUrl, shopUrl: site.shop.url, control, name, isOver });
}

async function trainableIn(database: Database): Promise<number> {
  const rows = await database.kysely
    .selectFrom("trajectories")
    .select("id")
    .where("trainable", "=", true)
    .where("superseded", "=", false)
    .execute();
  return rows.length;
}

/** Asks for the night under an id of the test's: everything that is drawn in it hangs on the id, so two nights under one id must come to the same. */
function askForNight(database: Database, nowMs: number): Promise<void> {
  return createRunStore(database, () => nowMs).create({ id: RUN, tenant: "default", agent: AGENT, plan: {}, nowMs });
}

function endOfNight(): Promise<RunView> {
  return until("the night ends", NIGHT_LIMIT_MS, async () => {
    const run = await site.control.run(RUN);
    if (run.state === "running") throw new Error(`it is in ${run.steps.at(-1)?.step ?? "no step"}`);
    return run;
  });
}

/** Digests of the adapters' files, by iteration; all else in a manifest differs with the time of day. */
async function adapterFiles(database: Database): Promise<Record<number, unknown>> {
  const adapters = await listAdapters(database, { runId: RUN, limit: 100 });
  return Object.fromEntries(
    adapters.map(({ iteration, manifest }) => [iteration, manifest.files.filter(({ path }) => path.endsWith(".safetensors"))]),
  );
}

/** Kills the leader at random moments, with another replica to follow it, until `isOver` or `limit` kills. */
async function killLeaders(
  replicas: Replicas,
  random: ReturnType<typeof createRandom>,
  limit: number,
  isOver: () => boolean,
): Promise<number> {
  for (let kills = 0; ; kills += 1) {
    if (kills === limit || isOver()) return kills;
    await replicas.kill(await replicas.leader());
    // Now and then long enough for a step of the trainer, or nothing would ever be finished.
    await Promise.all([replicas.start(), sleep(kills % 3 === 2 ? random.integer(5_000, 10_000) : random.integer(50, 2_500))]);
  }
}

const TITLE = "kill -9 of the leader at twenty random moments: the night comes to what an undisturbed one comes to, and is promoted once";

test(TITLE, { timeout: 1_800_000 }, async () => {
  const sinceMs = performance.now();
  const tell = (text: string) => process.stdout.write(`${Math.round((performance.now() - sinceMs) / 1_000)} s: ${text}\n`);
  const origin = await site.captureInto("nightshift");
  await serve(site.day.customers, "day", () => false, false);
  await until("the day is assembled", 60_000, async () => {
    const open = await origin.kysely.selectFrom("conversations").select("id").where("state", "=", "open").execute();
    return open.length === 0 && (await trainableIn(origin)) >= 12 ? true : null;
  });
  tell("the day is captured");
  const nowMs = Date.now();
  await site.endCapture();
  for (const name of ["plain", "killed"]) await site.server.createDatabase(name, { template: "nightshift" });

  const plainDatabase = await site.captureInto("plain");
  const alone = await site.serveFrom("plain");
  await alone.start();
  await askForNight(plainDatabase, nowMs);
  const plain = await endOfNight();
  expect(plain.outcome).toMatchObject({ kind: "candidate" });
  const expected = await adapterFiles(plainDatabase);
  await alone.killAll();
  tell("the undisturbed night is over");

  const database = await site.captureInto("killed");
  const replicas = await site.serveFrom("killed");
  await Promise.all([replicas.start(), replicas.start()]);
  const random = createRandom("leader kills", SEED);
  await askForNight(database, nowMs);
  let night: RunView | null = null;
  const ending = endOfNight().then((run) => (night = run));
  const kills = await killLeaders(replicas, random, KILLS_OF_THE_NIGHT, () => night !== null);
  const run = await ending;
  tell("the disturbed night is over");
  expect(run.outcome?.kind === "candidate" ? "candidate" : run).toBe("candidate");
  expect(await adapterFiles(database)).toEqual(expected);

  let decided: ExperimentView | null = null;
  const crowd = serve(site.traffic.customers, "live", () => decided !== null, true);
  const deciding = until("the experiment is decided", CANARY_LIMIT_MS, async () => {
    const { experiment } = await site.control.status();
    if (experiment === null || !ENDED.has(experiment.state)) return null;
    decided = experiment;
    return experiment;
  });
  const between = await killLeaders(replicas, random, KILLS_BEFORE_THE_CANARY, () => false);
  await until(
    "the candidate has traffic",
    CANARY_LIMIT_MS,
    async () => ((await site.control.status()).experiment?.weight ?? 0) > 0 || null,
  );
  const live = await killLeaders(replicas, random, KILLS - kills - between, () => decided !== null);
  const after = await killLeaders(replicas, random, KILLS - kills - between - live, () => false);
  const experiment = await deciding;
  await crowd;
  tell(`kills: ${kills} in the night, ${between} before the canary, ${live} in it, ${after} after it; experiment ${experiment.state}`);
  expect(kills + between + live + after).toBe(KILLS);
  // It lasts a minute at least, which one kill takes a few seconds of.
  expect(live).toBeGreaterThan(5);
  expect(experiment.state).toBe("promoted");
  await checkStore(database, experiment);
});

async function checkStore(database: Database, experiment: ExperimentView): Promise<void> {
  const db = database.kysely;
  expect(await db.selectFrom("runs").select(["id", "state"]).execute()).toEqual([{ id: RUN, state: "finished" }]);
  expect(await db.selectFrom("experiments").select(["id", "state"]).execute()).toEqual([{ id: RUN, state: "promoted" }]);
  const moves = await db.selectFrom("audit").select("body").where("subject", "=", RUN).orderBy("id").execute();
  expect(moves.filter(({ body }) => ENDED.has(String(body["to"])))).toHaveLength(1);
  const [routes] = await db.selectFrom("routes").select("body").where("agent", "=", AGENT).execute();
  expect(routes?.body).toMatchObject({ stable: { digest: experiment.candidate.digest }, candidate: null });

  // The canary starts when every replica has proved the candidate: before that nobody was answered by it, and by no other adapter ever.
  const evidence = await db.selectFrom("evidence").select("body").where("experiment_id", "=", RUN).orderBy("seq").execute();
  const start = evidence.map(({ body }) => evidenceSchema.parse(body)).find((row) => row.kind === "boundary" && row.cause === "start");
  const answered = await db
    .selectFrom("trajectories")
    .select(["adapter_digest", "started_at_ms"])
    .where("superseded", "=", false)
    .execute();
  const stable = experiment.stable.digest;
  const strange = answered.filter(
    ({ adapter_digest: digest, started_at_ms: atMs }) =>
      digest !== stable && !(digest === experiment.candidate.digest && atMs >= (start?.atMs ?? Number.POSITIVE_INFINITY)),
  );
  expect(strange).toEqual([]);
  expect(answered.some(({ adapter_digest: digest }) => digest === experiment.candidate.digest)).toBe(true);
  const attested = await db.selectFrom("attestations").select("decision").where("digest", "=", experiment.candidate.digest).execute();
  expect(attested.map(({ decision }) => decision["status"])).toEqual(["attested"]);
}
