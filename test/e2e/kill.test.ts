import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ExperimentView, RunView } from "../../deploy/quickstart/control.ts";
import type { Customer } from "../../deploy/quickstart/customers.ts";
import type { Started } from "../../deploy/quickstart/processes.ts";
import { createRandom } from "../../deploy/quickstart/random.ts";
import { AGENT } from "../../deploy/quickstart/settings.ts";
import { silentLog } from "../../src/log.ts";
import type { EmbeddedServer } from "../../src/serving/embedded.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { createSpanSender, type SpanSender } from "./known-spans.ts";
import { servePatiently } from "./patient-crowd.ts";
import { killNow, until, watchChildren, type ChildWatch } from "./processes.ts";
import { createSmallShop, SMALL, startPolicyServer, type SmallShop, type UpReady } from "./small-shop.ts";

const SEED = 7;
/** How long after its readiness (before it, where negative: while it starts) an `up` is killed, and where its policy server runs. */
type Kill = { afterMs: number; embedded: boolean };
const random = createRandom("kills", SEED);
const kill = (fromMs: number, toMs: number, embedded = false): Kill => ({ afterMs: random.integer(fromMs, toMs), embedded });
const DAY = [kill(300, 2_500, true), kill(100, 2_500), kill(-1_500, -200), kill(100, 2_500), kill(100, 2_500)];
const NIGHT = [...Array.from({ length: 4 }, () => kill(50, 3_000)), kill(1_500, 7_000), kill(3_000, 9_000), kill(1_000, 6_000, true)];
const CANARY = [kill(100, 1_500), kill(100, 3_000), kill(-1_500, -200), kill(500, 4_000, true), kill(100, 4_000)];
const ORPHANS_GONE_MS = 15_000;
const ENDED = new Set(["promoted", "rolled_back", "expired", "superseded", "refused"]);

let site: SmallShop;
let server: EmbeddedServer;
let up: Started<UpReady>;
let watch: ChildWatch;
let sender: SpanSender;
const orphanMs: number[] = [];
let kills = 0;

beforeAll(async () => {
  site = await createSmallShop({ contacts: 70, seed: SEED });
  watch = watchChildren(`train ${join(site.dataDir, "runs")}`);
  server = await startPolicyServer();
  await configure(true);
  up = await site.up();
  await configure(true);
});

afterAll(async () => {
  await sender?.stop();
  await site?.close();
  await server?.close();
  await watch?.stop();
});

/** Where the policy server of the next start runs: as a child, or as the one that outlives it. */
function configure(embedded: boolean): Promise<void> {
  // Which conversations a kill cut short is chance: of a few groups all may end alike, which is no failure but ends the test.
  const night = { ...(SMALL["night"] as object), scenarios: 12 };
  return site.configure({ ...SMALL, night, policyServers: embedded ? [] : [{ url: server.url }] });
}

async function killAndRestart(at: Kill): Promise<void> {
  await sleep(Math.max(0, at.afterMs));
  const { pid } = up.child;
  const children = await watch.childrenOf(pid ?? 0);
  await killNow(up.child);
  kills += 1;
  const orphans = watch.orphansOf(children, ORPHANS_GONE_MS);
  // Looked at below, when the next start is ready.
  orphans.catch(() => undefined);
  await configure(at.embedded);
  if (at.afterMs < 0) await killWhileStarting(-at.afterMs);
  up = await site.up();
  await watch.childrenOf(up.child.pid ?? 0);
  orphanMs.push(await orphans);
}

/** A start that never gets ready leaves no more behind than one that did. */
async function killWhileStarting(afterMs: number): Promise<void> {
  const starting = site.upUnready();
  await sleep(afterMs);
  const children = await watch.childrenOf(starting.pid ?? 0);
  await killNow(starting);
  kills += 1;
  orphanMs.push(await watch.orphansOf(children, ORPHANS_GONE_MS));
}

/** Does `work` while `up` is killed and started again, every planned time. */
async function whileKilled<T>(plan: readonly Kill[], work: Promise<T>): Promise<T> {
  const killing = (async () => {
    for (const at of plan) await killAndRestart(at);
  })();
  const [result] = await Promise.all([work, killing]);
  return result;
}

test("twenty kills over a day, a night and a canary lose nothing and repeat nothing", async () => {
  const agent = await site.agent();
  sender = createSpanSender(up.ready.collector, SEED);
  await whileKilled(
    DAY,
    serve(site.day.customers, agent.ready.url, "day", () => false),
  );
  await until("the day is assembled", 60_000, async () => ((await site.control().status()).funnel.trainable >= 12 ? true : null));

  const night = watchRun();
  const run = await whileKilled(NIGHT, night.finished);
  // What went wrong instead is in the steps.
  expect(run.outcome?.kind === "candidate" ? "candidate" : run).toBe("candidate");

  let decided: ExperimentView | null = null;
  const crowd = serve(site.traffic.customers, agent.ready.url, "live", () => decided !== null);
  const decision = until("the experiment is decided", 200_000, async () => {
    // An alarm by chance holds the candidate back until somebody has looked.
    for (const alarm of await site.control().openAlarms(run.id)) await site.control().acknowledge(alarm, "a small night");
    const { experiment } = await site.control().status();
    if (experiment === null || experiment.id !== run.id || !ENDED.has(experiment.state)) return null;
    decided = experiment;
    return experiment;
  });
  const experiment = await whileKilled(CANARY, decision);
  await crowd;
  await sender.stop();
  await killNow(up.child);
  kills += 1;

  expect(kills).toBeGreaterThanOrEqual(20);
  expect(sender.accepted.size).toBeGreaterThan(100);
  // One trainer per run, and none that stays behind.
  expect(watch.most()).toBeLessThanOrEqual(1);
  process.stdout.write(
    `${kills} kills, ${sender.accepted.size} spans acknowledged, experiment ${experiment.state}, children gone within ${Math.round(Math.max(...orphanMs))} ms\n`,
  );
  await checkStore(run, experiment, night.seen);
});

function serve(customers: readonly Customer[], agentUrl: string, name: string, isOver: () => boolean): Promise<number> {
  return servePatiently(customers, { agentUrl, shopUrl: site.shop.url, control: site.control(), name, isOver });
}

/** Starts a night and follows it; `seen` holds every step that was finished in some look, as it was then. */
function watchRun(): { finished: Promise<RunView>; seen: Map<string, RunView["steps"][number]> } {
  const seen = new Map<string, RunView["steps"][number]>();
  const finished = until("the run ends", 240_000, async () => {
    const run = (await site.control().status()).run;
    if (run === null) {
      await site.control().startRun();
      return null;
    }
    const { state, steps, ...rest } = await site.control().run(run.id);
    for (const step of steps) if (step.finishedAtMs !== null && !seen.has(step.step)) seen.set(step.step, step);
    return state === "running" ? null : { state, steps, ...rest };
  });
  return { finished, seen };
}

/** Reads the data directory that the last kill left. */
async function checkStore(run: RunView, experiment: ExperimentView, seen: ReadonlyMap<string, RunView["steps"][number]>): Promise<void> {
  const database = await createPglite({ dir: join(site.dataDir, "store"), log: silentLog() });
  try {
    const db = database.kysely;
    const stored = new Set((await db.selectFrom("spans").select("span_id").execute()).map((row) => row.span_id));
    expect([...sender.accepted].filter((id) => !stored.has(id))).toEqual([]);

    expect(await db.selectFrom("runs").select(["id", "state"]).execute()).toEqual([{ id: run.id, state: "finished" }]);
    const steps = await db.selectFrom("run_steps").selectAll().where("run_id", "=", run.id).execute();
    for (const [name, { startedAtMs, finishedAtMs }] of seen) {
      // What was finished was not begun again.
      expect(steps.find(({ step }) => step === name)).toMatchObject({ started_at_ms: startedAtMs, finished_at_ms: finishedAtMs });
    }
    const adapters = await db.selectFrom("adapters").select(["iteration", "digest"]).orderBy("iteration").execute();
    expect(adapters.map(({ iteration }) => iteration)).toEqual(adapters.map((_, index) => index + 1));
    expect(adapters.at(-1)?.digest).toBe(experiment.candidate.digest);

    const moves = await db.selectFrom("audit").select(["action", "body"]).where("subject", "=", experiment.id).orderBy("id").execute();
    expect(moves.filter(({ body }) => ENDED.has(String(body["to"])))).toHaveLength(1);
    const experiments = await db.selectFrom("experiments").select(["id", "state"]).execute();
    expect(experiments).toEqual([{ id: experiment.id, state: experiment.state }]);
    const [routes] = await db.selectFrom("routes").select("body").where("agent", "=", AGENT).execute();
    const served = experiment.state === "promoted" ? experiment.candidate : experiment.stable;
    expect(routes?.body).toMatchObject({ stable: { digest: served.digest }, candidate: null });
  } finally {
    await database.close();
  }
}
