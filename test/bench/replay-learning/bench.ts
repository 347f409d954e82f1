/**
 * Does a night on replay teach what the same night in the true environment teaches? `npm run bench -- replay-learning [--seeds 8] [--controls]`.
 * Per seed: a day of the starting policy's traffic in the quickstart's shop, one night whose tool calls are answered from its tapes, one whose calls are executed in the
 * shop as each conversation found it, and both adapters' success in the shop with 320 customers that neither has met. Everything else is the same.
 */
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { generateDay, generateFresh } from "../../../deploy/quickstart/customers.ts";
import { oneVisitEach } from "../../../deploy/quickstart/measure.ts";
import { quickstartConfig } from "../../../deploy/quickstart/settings.ts";
import { createShop } from "../../../deploy/quickstart/shop.ts";
import { parseConfig, type AgentConfig } from "../../../src/config.ts";
import { createLimiter } from "../../../src/limiter.ts";
import type { MemberPlan } from "../../../src/rollout/plan.ts";
import { scratchDirectory } from "../machine.ts";
import { measure, recordDay, shopSession, type RecordedVisit } from "./shop-traffic.ts";
import { openStand, type Stand } from "./stand.ts";
import { conclude, RHO, type Paired } from "./statistics.ts";

const AGENT = "shop-support";
const ROOT = join(import.meta.dirname, "../../..");
const CONTACTS = 300;
const CUSTOMERS = 320;
const ITERATIONS = 5;
/** The measured customers and their draws are the same for every seed and arm. */
const EVALUATION_SEED = 424_242;

const { values } = parseArgs({ options: { seeds: { type: "string", default: "8" }, controls: { type: "boolean", default: false } } });
const seeds = Array.from({ length: Number(values.seeds) }, (_, index) => index + 1);
if (seeds.length < 2) throw new RangeError("--seeds takes a number from 2 up");

const directory = scratchDirectory();
const python = join(ROOT, ".venv/bin/python");
const stand = await openStand({ agent: AGENT, config: configOf(1), directory, python, servers: 2 });
const limiter = createLimiter(96);
const evaluation = generateFresh({ seed: EVALUATION_SEED, customers: CUSTOMERS });
const evaluated = oneVisitEach(evaluation.customers);
const successOf = (model: string | null): Promise<boolean[]> =>
  measure(evaluation, evaluated, { policyServer: stand.policyServer, model: model ?? AGENT, seed: EVALUATION_SEED, limiter });

try {
  const start = await successOf(null);
  say(`start: ${percent(start)} of ${CUSTOMERS} customers`);
  const pairs: Paired[] = [];
  const shuffled: boolean[][] = [];
  for (const seed of seeds) {
    const day = await recordDay(generateDay({ seed, contacts: CONTACTS }), {
      policyServer: stand.policyServer,
      model: AGENT,
      seed,
      limiter,
    });
    const began = performance.now();
    const onReplay = await successOf(await night(stand, `replay-${seed}`, configOf(seed), day, false));
    const between = performance.now();
    const inTruth = await successOf(await night(stand, `truth-${seed}`, configOf(seed), day, true));
    pairs.push({ seed, start, inTruth, onReplay });
    const seconds = [between - began, performance.now() - between].map((ms) => `${(ms / 1000).toFixed(0)} s`);
    say(
      `seed ${seed}: ${day.length} conversations; replay ${percent(onReplay)} (${seconds[0]}), true environment ${percent(inTruth)} (${seconds[1]})`,
    );
    if (!values.controls) continue;
    const control = await successOf(
      await night(
        stand,
        `shuffled-${seed}`,
        { ...configOf(seed), night: { ...configOf(seed).night, sabotage: "shuffle_rewards" } },
        day,
        false,
      ),
    );
    shuffled.push(control);
    say(`seed ${seed}: shuffled rewards ${percent(control)}`);
  }
  const conclusion = conclude(pairs);
  const gains = shuffled.map((control) => rate(control) - rate(start));
  report(conclusion, gains);
  const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, node: process.version };
  const perSeed = pairs.map(({ seed, inTruth, onReplay }) => ({ seed, inTruth: rate(inTruth), onReplay: rate(onReplay) }));
  process.stdout.write(
    `${JSON.stringify({ bench: "replay-learning", world: "shop", rho: RHO, machine, ...conclusion, perSeed, shuffledGains: gains })}\n`,
  );
} finally {
  await stand.close();
}

function configOf(seed: number): AgentConfig {
  const config = parseConfig(quickstartConfig({ root: ROOT, dataDir: directory, seed, sabotage: null })).agents[AGENT];
  if (config === undefined) throw new Error("the quickstart has its agent");
  // Nobody is held out of the day: held-out customers are others altogether. A shorter night than the quickstart's leaves something to tell apart.
  return { ...config, scenario: { ...config.scenario, heldOutShare: 0.05 }, night: { ...config.night, iterations: ITERATIONS } };
}

function night(at: Stand, runId: string, config: AgentConfig, day: readonly RecordedVisit[], isTrue: boolean): Promise<string | null> {
  const shops = new Map(day.map(({ trajectory, before }) => [trajectory.id, before]));
  const openTools = ({ scenario }: MemberPlan) => shopSession(createShop(shops.get(scenario.trajectoryId) ?? []));
  return at.night({ runId, config, trajectories: day.map(({ trajectory }) => trajectory), ...(isTrue ? { openTools } : {}) });
}

function report(conclusion: ReturnType<typeof conclude>, gains: readonly number[]): void {
  const { start, inTruth, onReplay, ratio, ratioInterval, difference, isInformative, isVerified } = conclusion;
  const points = (value: number): string => (100 * value).toFixed(1);
  say("");
  say(`start ${points(start)} %, true environment ${points(inTruth)} %, replay ${points(onReplay)} %`);
  say(
    `replay reached ${points(ratio)} % of the true gain (95 % interval ${points(ratioInterval[0])} to ${points(ratioInterval[1])} %, seeds and customers resampled)`,
  );
  say(`D = replay's gain - ${RHO} x true gain: ${points(difference.mean)} points, lower end at 90 %: ${points(difference.lower)}`);
  if (gains.length > 0) say(`shuffled rewards gained ${gains.map(points).join(", ")} points (bar: 2 on average)`);
  say(isVerified ? "verified" : isInformative ? "NOT verified" : "says nothing: the true night must gain 15 points and stay below 95 %");
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function rate(outcomes: readonly boolean[]): number {
  return outcomes.filter(Boolean).length / outcomes.length;
}

function percent(outcomes: readonly boolean[]): string {
  return `${(100 * rate(outcomes)).toFixed(1)} %`;
}
