/** `npm run quickstart`: the whole loop once, with embedded parts and real input. See experience.md's promise in README.md, "Quickstart". */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { createControl, type Control, type ExperimentView } from "./control.ts";
import { serveCrowd, type Served } from "./crowd.ts";
import { generateDay, generateFresh, generateTraffic, type World } from "./customers.ts";
import { compare, oneVisitEach, type Comparison } from "./measure.ts";
import { createFeedbackOutbox, gateDecides, liveTraffic, nightFalls } from "./night.ts";
import { HELP, readOptions, type Options } from "./options.ts";
import { startProgram, type Started } from "./processes.ts";
import { createProgress, type Progress } from "./report.ts";
import { printResult, type Result } from "./result.ts";
import { AGENT, PRODUCTION_TEMPERATURE, quickstartConfig, TELEMETRY_DELAY_MS } from "./settings.ts";
import { startShop, type RunningShop } from "./shop-server.ts";

const ROOT = join(import.meta.dirname, "../..");
const DAY_CONTACTS = 300;
const FRESH_CUSTOMERS = 320;
/** Customers who talk at the same time; fewer during the canary, where each decision changes what the next ones meet. */
const CONCURRENCY = 96;
const CANARY_CONCURRENCY = 32;

interface UpReady {
  collector: string;
  gateway: string;
  api: string;
  policyServers: Record<string, string[]>;
}

async function main(options: Options): Promise<void> {
  const progress = createProgress((line) => (options.json ? process.stderr : process.stdout).write(`${line}\n`));
  const directory = join(ROOT, ".nightshift", "quickstart");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const cleanups: (() => Promise<void>)[] = [];
  // Ctrl-C reaches the whole process group by itself; a SIGTERM reaches only this process.
  process.once("SIGTERM", () => void Promise.allSettled(cleanups.map((cleanup) => cleanup())).then(() => process.exit(143)));
  try {
    const result = await play(options, directory, progress, cleanups);
    printResult(result, options);
    if (!options.json && process.stdout.isTTY) await untilInterrupted(result.address);
  } finally {
    for (const cleanup of cleanups.toReversed()) await cleanup();
  }
}

async function play(options: Options, directory: string, progress: Progress, cleanups: (() => Promise<void>)[]): Promise<Result> {
  const { seed, sabotage, judge } = options;
  const started = Date.now();
  const day = generateDay({ seed, contacts: DAY_CONTACTS });
  const traffic = generateTraffic({ seed, customers: 1_200 });
  const shop = await startShop({ orders: [...day.orders, ...traffic.orders] });
  cleanups.push(() => shop.close());
  const configFile = join(directory, "nightshift.yaml");
  writeFileSync(configFile, stringify(quickstartConfig({ root: ROOT, dataDir: join(directory, "data"), seed, sabotage, judge })));
  progress.say("starting Nightshift (collector, gateway, store, policy server) and the shop's agent");
  const up = await startProgram<UpReady>({
    name: "nightshift up",
    args: [join(ROOT, "src/cli/main.ts"), "up", "--config", configFile, "--json"],
    env: {},
    logFile: join(directory, "nightshift.log"),
  });
  cleanups.push(() => up.stop());
  const agent = await startAgent({ directory, name: "agent", baseUrl: up.ready.gateway, collector: up.ready.collector, shop });
  cleanups.push(() => agent.stop());
  const control = createControl(up.ready.api, AGENT);
  const at = { options, directory, progress, shop, traffic, control, agentUrl: agent.ready.url };

  const served = await theDay(at, day.customers);
  const before = shop.shop.counters();
  progress.say("night falls");
  const run = await nightFalls(control, progress);
  const experiment = run.outcome?.kind === "candidate" ? await gateDecides(control, run, progress) : null;
  const replayWrites = shop.shop.counters().writes - before.writes;
  const decided = experiment === null || experiment.state === "refused" ? experiment : await theCanary(at, experiment);
  const fresh = await theFresh(at, up);
  const status = await control.status();
  const lineage = await control.lineage(fresh.answered).catch(() => null);
  return {
    seed,
    sabotage,
    judge: judge === null ? "scripted" : judge.model,
    seconds: (Date.now() - started) / 1000,
    served,
    funnel: status.funnel,
    run,
    experiment: decided,
    replayWrites,
    comparison: fresh.comparison,
    lineage,
    answered: fresh.answered,
    address: up.ready.api,
  };
}

interface Stage {
  options: Options;
  directory: string;
  progress: Progress;
  shop: RunningShop;
  traffic: World;
  control: Control;
  agentUrl: string;
}

/** Customers come, the collector captures; ends when every conversation is assembled. */
async function theDay(at: Stage, customers: Parameters<typeof serveCrowd>[0]["customers"]): Promise<Served[]> {
  const outbox = createFeedbackOutbox(at.control);
  const served = await serveCrowd({
    customers,
    agentUrl: at.agentUrl,
    shopUrl: at.shop.url,
    concurrency: CONCURRENCY,
    name: "day",
    comeBack: true,
    onServed: (one) => outbox.add(one),
  });
  await outbox.flush();
  const successes = served.filter(({ outcome }) => outcome.success).length;
  at.progress.say(`day: ${served.length} conversations served, ${successes} of them successful`);
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(200)) {
    const { funnel } = await at.control.status();
    if (funnel.complete >= served.length) break;
  }
  const { funnel } = await at.control.status();
  at.progress.say(`day: ${funnel.captured} captured, ${funnel.complete} complete, ${funnel.trainable} trainable`);
  return served;
}

async function theCanary(at: Stage, experiment: ExperimentView): Promise<ExperimentView> {
  const { experiment: decided, served } = await liveTraffic({
    control: at.control,
    experimentId: experiment.id,
    customers: at.traffic.customers,
    agentUrl: at.agentUrl,
    shopUrl: at.shop.url,
    concurrency: CANARY_CONCURRENCY,
    progress: at.progress,
  });
  at.progress.say(`canary: decided after ${served.length} live conversations`);
  return decided;
}

/** The same fresh customers twice, the shop reset between: through the gateway (what is stable now), and past it, straight to the base model. */
async function theFresh(at: Stage, up: Started<UpReady>): Promise<{ comparison: Comparison; answered: string }> {
  const { seed } = at.options;
  const world = generateFresh({ seed, customers: FRESH_CUSTOMERS });
  const customers = oneVisitEach(world.customers);
  const policyServers = up.ready.policyServers[AGENT] ?? [];
  // The bypass has no gateway that spreads calls: an agent per policy server does.
  const bypasses = await Promise.all(
    policyServers.map((url, index) =>
      startAgent({ directory: at.directory, name: `agent-bypass-${index}`, baseUrl: `${url}/v1`, collector: null, shop: at.shop }),
    ),
  );
  try {
    const crowd = { customers, shopUrl: at.shop.url, concurrency: CONCURRENCY, comeBack: false };
    at.shop.shop.load(world.orders);
    const after = await serveCrowd({ ...crowd, agentUrl: at.agentUrl, name: "fresh" });
    at.shop.shop.load(world.orders);
    const before = await Promise.all(
      bypasses.map(({ ready: { url } }, index) =>
        serveCrowd({
          ...crowd,
          customers: customers.filter((_, place) => place % bypasses.length === index),
          concurrency: CONCURRENCY / bypasses.length,
          agentUrl: url,
          name: "before",
        }),
      ),
    );
    const comparison = compare(before.flat(), after, seed);
    at.progress.say(`fresh customers: ${customers.length} served by the base and by what is stable now`);
    const answered = after.find(({ outcome }) => outcome.success)?.conversationId ?? after[0]?.conversationId ?? "";
    await untilCaptured(at.control, answered);
    return { comparison, answered };
  } finally {
    await Promise.all(bypasses.map((bypass) => bypass.stop()));
  }
}

async function untilCaptured(control: Control, conversation: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await sleep(200)) {
    if ((await control.lineage(conversation).catch(() => null)) !== null) return;
  }
}

function startAgent(options: {
  directory: string;
  name: string;
  baseUrl: string;
  collector: string | null;
  shop: RunningShop;
}): Promise<Started<{ url: string }>> {
  const { directory, name, baseUrl, collector, shop } = options;
  return startProgram({
    name,
    args: [join(ROOT, "deploy/quickstart/agent.ts")],
    env: {
      PORT: "0",
      MODEL: AGENT,
      SHOP_URL: shop.url,
      TEMPERATURE: String(PRODUCTION_TEMPERATURE),
      OPENAI_BASE_URL: baseUrl,
      OPENAI_API_KEY: "not-needed-here",
      OTEL_SERVICE_NAME: AGENT,
      OTEL_BSP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
      OTEL_BLRP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
      OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: "true",
      ...(collector === null ? { OTEL_SDK_DISABLED: "true" } : { OTEL_EXPORTER_OTLP_ENDPOINT: collector }),
    },
    logFile: join(directory, `${name}.log`),
  });
}

function untilInterrupted(address: string): Promise<void> {
  process.stdout.write(`\nThe page stays at ${address} until you press Ctrl-C.\n`);
  return new Promise((resolve) => process.once("SIGINT", () => resolve()));
}

try {
  const options = readOptions(process.argv.slice(2), process.env);
  if (options.help) process.stdout.write(HELP);
  else await main(options);
} catch (error) {
  process.stderr.write(`quickstart: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof RangeError ? 2 : 1;
}
