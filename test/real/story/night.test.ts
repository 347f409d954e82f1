import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serveCrowd } from "../../../deploy/quickstart/crowd.ts";
import { generateDay, generateTraffic } from "../../../deploy/quickstart/customers.ts";
import { createFeedbackOutbox, gateDecides, liveTraffic, nightFalls } from "../../../deploy/quickstart/night.ts";
import { createProgress } from "../../../deploy/quickstart/report.ts";
import { startShop, type RunningShop } from "../../../deploy/quickstart/shop-server.ts";
import type { Cluster } from "../kubernetes/cluster.ts";
import { installShop, NAMESPACE, RELEASE, type ShopRelease } from "./shop-release.ts";

const SEED = 1;
const progress = createProgress((line) => process.stdout.write(`${line}\n`));
const day = generateDay({ seed: SEED, contacts: 300 });
const traffic = generateTraffic({ seed: SEED, customers: 1_200 });
/** The night of `test/real/together/loop.test.ts`, by a trainer that is a Job. */
const NIGHT = {
  ...{ scenarios: 20, groupSize: 8, seed: SEED, lora: { rank: 8, alpha: 32 }, klBeta: 0.01, minibatches: 2, probe: { members: 0 } },
  ...{ iterations: 8, learningRate: 6e-4 },
};

let shop: RunningShop;
let release: ShopRelease;

beforeAll(async () => {
  shop = await startShop({ orders: [...day.orders, ...traffic.orders] });
  release = await installShop({ shopUrl: shop.url, seed: SEED, agent: { night: NIGHT, gate: { maxScenarios: 200 } } });
  progress.say("Kafka and PostgreSQL, a cluster, the chart installed with every pod ready, the agent");
}, 480_000);
afterAll(async () => {
  await release?.close();
  await shop?.close();
});

test("what was installed says of itself that it works", { timeout: 240_000 }, async () => {
  const said = await release.cluster.helm(["test", RELEASE, "--namespace", NAMESPACE, "--timeout", "180s"]);
  expect(said).toMatch(/Phase:\s+Succeeded/);
});

test("a CronJob's night trains in a Job, and its adapter is promoted without a hand", { timeout: 900_000 }, async () => {
  const { control, cluster, agentUrl } = release;
  const outbox = createFeedbackOutbox(control);
  const served = await serveCrowd({
    ...{ customers: day.customers, agentUrl, shopUrl: shop.url, concurrency: 64, name: "day", comeBack: true },
    onServed: (one) => outbox.add(one),
  });
  await outbox.flush();
  expect(served.filter(({ error }) => error !== null)).toEqual([]);
  progress.say(`day: ${served.length} conversations served, ${served.filter(({ outcome }) => outcome.success).length} of them successful`);
  while ((await control.status()).funnel.complete < served.length) await sleep(200);

  const run = await nightFalls(control, progress);
  expect(run).toMatchObject({ state: "finished", outcome: { kind: "candidate" } });
  expect(trainersOf(cluster, run.id)).toBe(1);

  const experiment = await gateDecides(control, run, progress);
  expect(experiment.state).not.toBe("refused");
  const live = {
    control,
    experimentId: experiment.id,
    customers: traffic.customers,
    agentUrl,
    shopUrl: shop.url,
    concurrency: 32,
    progress,
  };
  const { experiment: decided, served: callers } = await liveTraffic(live);
  expect(callers.filter(({ error }) => error !== null)).toEqual([]);
  expect(decided).toMatchObject({ state: "promoted" });
  expect((await control.status()).stable.digest).toBe(decided.candidate.digest);
});

/** Pods that were made to train this run, by the API server's own record: the Job is gone when its run has ended. */
function trainersOf(cluster: Cluster, runId: string): number {
  const created = cluster
    .audit()
    .filter(({ verb, objectRef }) => verb === "create" && objectRef?.resource === "pods" && objectRef.subresource === undefined);
  const labels = created.map(
    ({ responseObject }) => (responseObject?.["metadata"] as { labels?: Record<string, string> } | undefined)?.labels,
  );
  return labels.filter((one) => one?.["nightshift.dev/run-id"] === runId).length;
}
