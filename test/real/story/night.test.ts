import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Control, ExperimentView, RunView } from "../../../deploy/quickstart/control.ts";
import { serveCrowd, type Served } from "../../../deploy/quickstart/crowd.ts";
import { generateDay, generateTraffic } from "../../../deploy/quickstart/customers.ts";
import { createFeedbackOutbox, gateDecides, liveTraffic, nightFalls } from "../../../deploy/quickstart/night.ts";
import { createProgress } from "../../../deploy/quickstart/report.ts";
import { startShop, type RunningShop } from "../../../deploy/quickstart/shop-server.ts";
import { until } from "../../e2e/processes.ts";
import { disturbNight, killLeader } from "./disturbances.ts";
import { answersBy, expectServedRightly, expectTrainers } from "./evidence.ts";
import { installShop, NAMESPACE, type ShopRelease } from "./shop-release.ts";

const SEED = 1;
const progress = createProgress((line) => process.stdout.write(`${line}\n`));
const day = generateDay({ seed: SEED, contacts: 300 });
const traffic = generateTraffic({ seed: SEED, customers: 1_200 });
/** The nights of `test/real/together/loop.test.ts`, by trainers that are Jobs: a good one, and one that teaches the opposite, fast. */
const NIGHT = {
  ...{ scenarios: 20, groupSize: 8, seed: SEED, lora: { rank: 8, alpha: 32 }, klBeta: 0.01, minibatches: 2, probe: { members: 0 } },
};
const GOOD = { night: { ...NIGHT, iterations: 8, learningRate: 6e-4 }, gate: { maxScenarios: 200 } };
const BAD = { night: { ...NIGHT, iterations: 2, learningRate: 5e-3, sabotage: "invert_rewards" }, gate: { enabled: false } };

/** What doctor warns of, in its order: one broker, judges that are a script, a server that does not tell its flags, and nobody who has called yet. */
const WARNED = [
  "kafka topic otlp_spans",
  "kafka topic otlp_logs",
  "kafka topic nightshift_dead_letter",
  "judge",
  "gate's judge",
  "cannot be seen over HTTP",
  "telemetry",
];

let shop: RunningShop;
let release: ShopRelease;

beforeAll(async () => {
  shop = await startShop({ orders: [...day.orders, ...traffic.orders] });
  release = await installShop({ shopUrl: shop.url, seed: SEED, agent: GOOD });
  progress.say("Kafka and PostgreSQL, a cluster, the chart installed with every pod ready, the agent");
}, 480_000);
afterAll(async () => {
  await release?.close();
  await shop?.close();
});

test("what the guide has installed says of itself that it works, and doctor finds nothing to mend", { timeout: 240_000 }, async () => {
  const { installed, reader } = release;
  expect(installed).toMatch(/1 chart\(s\) linted, 0 chart\(s\) failed/);
  expect(installed).toMatch(/Phase:\s+Succeeded/);
  const findings = (await reader.follow("Look 1")).split("\n").filter((line) => /^(?:ok|warn|BAD) /.test(line));
  expect(findings.length).toBeGreaterThan(20);
  // How much room this machine's disk has is nothing of the guide's.
  const told = findings.filter((line) => !line.startsWith("ok") && !/^warn +data directory/.test(line));
  expect(told).toEqual(WARNED.map((text): unknown => expect.stringContaining(text)));
  await reader.leave("Look 2", /^Forwarding from/);
  expect(await reader.follow("Look 3")).toMatch(/nightshift-serve/);
});

test(
  "the guide's first night trains in a Job, evicted once, the API server gone for a while; its adapter is promoted without a hand, the leader killed on the way",
  { timeout: 900_000 },
  async () => {
    const { control, cluster } = release;
    const served = await theDay();
    expect(served.filter(({ error }) => error !== null)).toEqual([]);
    while ((await control.status()).funnel.complete < served.length) await sleep(200);

    const [run] = await Promise.all([night({ ...control, startRun: () => release.firstNight() }), disturbNight(release, progress)]);
    // The one that was evicted, and the one that went on from its checkpoint.
    expectTrainers(cluster, run.id, 2);
    const experiment = await gateDecides(control, run, progress);
    expect(experiment.state).not.toBe("refused");
    const [decided] = await Promise.all([canary(experiment, 0), killLeader(release, experiment.id, progress)]);
    expect(decided).toMatchObject({ state: "promoted" });
    expect((await control.status()).stable.digest).toBe(decided.candidate.digest);
    expect(answersBy(release, decided.candidate.digest)).toBeGreaterThan(20);
    await expectServedRightly(release);
    // What was forwarded went through the API server that was killed.
    await release.reader.leave("Look 2", /^Forwarding from/);
    expect(await release.reader.follow("Promoted, or rolled back 1")).toContain(decided.candidate.name);
    progress.say(`${release.witness.calls.length} calls of the agent so far, every one answered, none by an adapter that was not attested`);
  },
);

test(
  "another night, by the CronJob's schedule, teaches the opposite and has no gate: the canary rolls its adapter back on evidence",
  { timeout: 600_000 },
  async () => {
    const { control, cluster } = release;
    const { digest: promoted } = (await control.status()).stable;
    await release.upgrade(BAD);
    progress.say("the chart upgraded, every pod ready");
    const run = await night(control);
    expectTrainers(cluster, run.id, 1);
    const decided = await canary(await gateDecides(control, run, progress), 600);
    expect(decided.state).toBe("rolled_back");
    // Evidence either way, not a cap or a deadline: worse outcomes, or failing tool calls before enough outcomes were in.
    expect(["harm", "guardrail"]).toContain(decided.conclusion?.reason);
    expect((await control.status()).stable.digest).toBe(promoted);
    // A guardrail may end it before any outcome of the candidate's is in.
    const conversations = Number(decided.numbers?.["candidateUnits"] ?? 0);
    expect(answersBy(release, decided.candidate.digest)).toBeGreaterThanOrEqual(Math.max(1, conversations));
    await expectServedRightly(release);
    progress.say(`${release.witness.calls.length} calls of the agent in all, every one answered, none by an adapter that was not attested`);
  },
);

test(
  "the guide's last pages: a promotion undone by hand, the release uninstalled, what is the reader's left",
  { timeout: 240_000 },
  async () => {
    const { control, reader, cluster } = release;
    const { digest: promoted } = (await control.status()).stable;
    // The upgrade has replaced the pod that the last one led to.
    await reader.leave("Look 2", /^Forwarding from/);
    await reader.follow("Promoted, or rolled back 4");
    await until("the promotion is undone", 120_000, async () => ((await control.status()).stable.digest === promoted ? null : true));
    const named = (...what: string[]): Promise<string> => cluster.kubectl(["get", ...what, "--namespace", NAMESPACE, "--output", "name"]);
    await reader.follow("Uninstall 1");
    expect(await named("deployments,statefulsets,cronjobs")).toBe("");
    expect(await named("secrets")).toBe("secret/nightshift\n");
    expect((await named("pvc")).split("\n").toSorted()).toEqual([
      "",
      "persistentvolumeclaim/models",
      "persistentvolumeclaim/nightshift-data",
    ]);
    expect(reader.unread()).toEqual([]);
  },
);

async function theDay(): Promise<Served[]> {
  const outbox = createFeedbackOutbox(release.control);
  const served = await serveCrowd({
    ...{ customers: day.customers, agentUrl: release.agentUrl, shopUrl: shop.url, concurrency: 64, name: "day", comeBack: true },
    onServed: (one) => outbox.add(one),
  });
  await outbox.flush();
  progress.say(`day: ${served.length} conversations served, ${served.filter(({ outcome }) => outcome.success).length} of them successful`);
  return served;
}

async function night(control: Control): Promise<RunView> {
  const run = await nightFalls(control, progress);
  expect(run).toMatchObject({ state: "finished", outcome: { kind: "candidate" } });
  return run;
}

/** Live traffic until the decision: customers from `first` on. No conversation of it fails. */
async function canary({ id }: ExperimentView, first: number): Promise<ExperimentView> {
  const { control, agentUrl } = release;
  const { experiment, served } = await liveTraffic({
    ...{ control, experimentId: id, customers: traffic.customers.slice(first), agentUrl, shopUrl: shop.url, concurrency: 32, progress },
  });
  expect(served.filter(({ error }) => error !== null)).toEqual([]);
  return experiment;
}
