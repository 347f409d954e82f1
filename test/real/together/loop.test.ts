import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serveCrowd, type Served } from "../../../deploy/quickstart/crowd.ts";
import { createFeedbackOutbox, gateDecides, liveTraffic, nightFalls } from "../../../deploy/quickstart/night.ts";
import { createProgress } from "../../../deploy/quickstart/report.ts";
import { describeFaults } from "./faults.ts";
import { startProduction, type Production } from "./production.ts";

const SEED = 1;
const progress = createProgress((line) => process.stdout.write(`${line}\n`));
const NIGHT = {
  scenarios: 20,
  groupSize: 8,
  seed: SEED,
  lora: { rank: 8, alpha: 32 },
  klBeta: 0.01,
  minibatches: 2,
  probe: { members: 0 },
};
/**
 * A good night, of the quickstart's length, and one that teaches the opposite, fast. The day is the quickstart's too: with a quarter fewer recordings a good candidate leaves the tapes so often (9 % of
 * its pairs, each counted against it) that 29 wins and no loss did not prove it.
 * After one inverted iteration an adapter lost 41 and 49 % of the gate's pairs, after two 82 and 87 %.
 */
const CONTACTS = 300;
const GOOD = { night: { ...NIGHT, iterations: 8, learningRate: 6e-4 }, gate: { maxScenarios: 200 } };
const BAD = { ...GOOD, night: { ...NIGHT, iterations: 2, learningRate: 5e-3, sabotage: "invert_rewards" } };

let production: Production;
beforeAll(async () => {
  production = await startProduction({ seed: SEED, contacts: CONTACTS, agent: GOOD });
  progress.say("two vLLM replicas with their adapter agents, Kafka, PostgreSQL, collector, two ingests, serve, gateway, agent");
}, 300_000);
afterAll(async () => {
  await production?.close();
});

test(
  "a good night is promoted, a bad one is refused by the gate, and without a gate rolled back by the canary",
  { timeout: 1_200_000 },
  async () => {
    const { control } = production;
    const served = await theDay();
    expect(served.filter(({ error }) => error !== null)).toEqual([]);

    const good = await nightAndGate();
    expect(good.state).not.toBe("refused");
    const promoted = await canary(good.id, 0);
    expect(promoted).toMatchObject({ state: "promoted" });
    expect((await control.status()).stable.digest).toBe(promoted.candidate.digest);

    await production.serve(BAD);
    expect(await nightAndGate()).toMatchObject({ state: "refused" });

    await production.serve({ ...BAD, gate: { enabled: false } });
    const rolledBack = await canary((await nightAndGate()).id, 600);
    expect(rolledBack.state).toBe("rolled_back");
    // Evidence either way, not a cap or a deadline: worse outcomes, or failing tool calls before enough outcomes were in.
    expect(["harm", "guardrail"]).toContain(rolledBack.conclusion?.reason);
    expect((await control.status()).stable.digest).toBe(promoted.candidate.digest);
    expect(await answersByUnattested()).toEqual([]);
  },
);

// Two replicas take a minute to start: what fails around a canary is tried on these.
describeFaults(() => production);

async function theDay(): Promise<Served[]> {
  const { agentUrl, shop, day, control } = production;
  const outbox = createFeedbackOutbox(control);
  const served = await serveCrowd({
    ...{ customers: day.customers, agentUrl, shopUrl: shop.url, concurrency: 96, name: "day", comeBack: true },
    onServed: (one) => outbox.add(one),
  });
  await outbox.flush();
  progress.say(`day: ${served.length} conversations served, ${served.filter(({ outcome }) => outcome.success).length} of them successful`);
  for (;;) {
    const { funnel } = await control.status();
    if (funnel.complete >= served.length) break;
    await sleep(200);
  }
  return served;
}

async function nightAndGate() {
  const run = await nightFalls(production.control, progress);
  expect(run).toMatchObject({ state: "finished", outcome: { kind: "candidate" } });
  const experiment = await gateDecides(production.control, run, progress);
  progress.say(`gate: ${experiment.state}, ${JSON.stringify(experiment.gate)}`);
  return experiment;
}

/** Live traffic until the decision: customers from `first` on. */
async function canary(experimentId: string, first: number) {
  const { control, agentUrl, shop } = production;
  const customers = production.traffic.customers.slice(first);
  const traffic = { control, experimentId, customers, agentUrl, shopUrl: shop.url, concurrency: 32, progress };
  const { experiment, served } = await liveTraffic(traffic);
  expect(served.filter(({ error }) => error !== null)).toEqual([]);
  return experiment;
}

/** Conversations answered by an adapter that not every replica had proven active before they began. */
async function answersByUnattested(): Promise<unknown[]> {
  const { kysely } = production.database;
  const answered = await kysely
    .selectFrom("trajectories")
    .select(({ fn }) => ["adapter_digest", fn.min("started_at_ms").as("first_ms")])
    .where("adapter_digest", "is not", null)
    .groupBy("adapter_digest")
    .execute();
  const attestations = await kysely.selectFrom("attestations").select(["digest", "replica", "at_ms"]).execute();
  const adapters = new Set((await kysely.selectFrom("adapters").select("digest").execute()).map(({ digest }) => digest));
  return answered.filter(({ adapter_digest: digest, first_ms: firstMs }) => {
    const proofs = attestations.filter((one) => one.digest === digest && one.at_ms <= firstMs);
    return digest !== null && adapters.has(digest) && proofs.length < production.vllm.length;
  });
}
