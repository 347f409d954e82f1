import { hash } from "node:crypto";
import { nightshiftError } from "../../errors.ts";
import type { JudgeResult, Judge } from "../judge.ts";
import type { TrajectoryGroup } from "../../rollout/group.ts";
import { createLimiter } from "../../limiter.ts";
import { seededRandom } from "../../seeded-random.ts";
import type { JudgeIdentity } from "./identity.ts";
import { measureJudge, type JudgeFigures, type Observation } from "./measure.ts";
import type { JudgedLabel, JudgePasses, PassResult } from "./passes.ts";

/** A label with what a person thinks of each of its attempts; only the order counts. */
export interface HumanLabel extends JudgedLabel {
  kind: "pair" | "scores";
  human: readonly number[];
}

export interface CalibrationReport extends JudgeFigures {
  labels: { pairs: number; scores: number; unanswered: number };
  /** Questions about each label in another order, beside the one that a night would ask. */
  repeats: number;
  seed: number;
  /** What this calibration was charged for. Answers from the cache cost nothing and are not in it. */
  tokens: { input: number; output: number };
  /** In the currency of the prices that were given; null without. */
  cost: number | null;
}

export interface CalibrateOptions {
  /** Names the token budget that this is on. */
  id: string;
  repeats: number;
  seed: number;
  /** Per million tokens. */
  prices: { input: number; output: number } | null;
  signal: AbortSignal;
  progress: (done: number, total: number) => void;
}

/** A judge of rewards as a calibration needs it. */
export interface Calibrator {
  judge: Judge;
  passes: JudgePasses;
  identity: JudgeIdentity;
}

export interface CalibrateDeps extends Pick<Calibrator, "judge" | "passes"> {
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Fewer labels with an opinion say next to nothing: 16 of 20 right may be a judge of 58 % or of 92 %. */
const MIN_LABELS = 20;
/** More unanswered labels than this and the rest may be the easy ones. */
const MAX_UNANSWERED_SHARE = 0.2;
const ATTEMPTS = 5;
const LABELS_AT_ONCE = 4;

/**
 * Asks the judge about every label: once as a night would, and `repeats` times in chosen orders, each second one the one before reversed. What the judge does not answer is no data.
 * @throws NightshiftError `calibration_too_small`, `calibration_incomplete`. Otherwise rejects only when `signal` aborts.
 */
export async function calibrateJudge(
  labels: readonly HumanLabel[],
  options: CalibrateOptions,
  deps: CalibrateDeps,
): Promise<CalibrationReport> {
  const opinions = labels.filter(({ human }) => new Set(human).size > 1).length;
  if (opinions < MIN_LABELS) throw nightshiftError("calibration_too_small", { labels: opinions, needed: MIN_LABELS });
  const tokens = { input: 0, output: 0 };
  const limiter = createLimiter(LABELS_AT_ONCE);
  let done = 0;
  const seen = await Promise.all(
    labels.map((label, index) =>
      limiter(async () => {
        const one = await observe(label, index, options, deps, tokens);
        options.progress((done += 1), labels.length);
        return one;
      }),
    ),
  );
  const observations = seen.flatMap((one) => (typeof one === "string" ? [] : [one]));
  const unanswered = labels.length - observations.length;
  if (unanswered > labels.length * MAX_UNANSWERED_SHARE) {
    const code = seen.find((one) => typeof one === "string") ?? "";
    throw nightshiftError("calibration_incomplete", { unanswered, labels: labels.length, code });
  }
  const { repeats, seed, prices } = options;
  return {
    ...measureJudge(observations, seed),
    labels: {
      pairs: observations.filter(({ kind }) => kind === "pair").length,
      scores: observations.filter(({ kind }) => kind === "scores").length,
      unanswered,
    },
    ...{ repeats, seed, tokens },
    cost: prices === null ? null : (tokens.input * prices.input + tokens.output * prices.output) / 1e6,
  };
}

/** What the judge made of one label; the code of an error where it gave no answer. */
async function observe(
  label: HumanLabel,
  index: number,
  { id, repeats, seed, signal }: CalibrateOptions,
  deps: CalibrateDeps,
  tokens: CalibrationReport["tokens"],
): Promise<Observation | string> {
  const runId = `calibration-${id}`;
  const rewarded = await patiently(() => deps.judge.score(groupOf(label, runId), { signal }), signal, deps);
  if (rewarded.status === "retryable" || rewarded.status === "rejected") return rewarded.error.code;
  const rewards = label.members.map((_, member) => (rewarded.status === "scored" ? (rewarded.rewards[member] ?? 0) : 0));
  if (rewarded.status === "scored" && !rewarded.provenance.cached) charge(tokens, rewarded.provenance);
  const passes: { scores: number[]; slots: number[] }[] = [];
  for (const [repeat, order] of ordersOf(label.members.length, repeats, seed + index).entries()) {
    const pass = await patiently(() => deps.passes.ask(label, { order, repeat: seed * 1_000 + repeat, runId }, signal), signal, deps);
    if (pass.status !== "scored") return pass.error.code;
    if (!pass.cached) charge(tokens, pass);
    passes.push({ scores: pass.scores, slots: label.members.map((_, member) => order.indexOf(member)) });
  }
  return { kind: label.kind, human: label.human, rewards, passes };
}

function charge(tokens: CalibrationReport["tokens"], spent: { inputTokens: number; outputTokens: number }): void {
  tokens.input += spent.inputTokens;
  tokens.output += spent.outputTokens;
}

async function patiently<R extends JudgeResult | PassResult>(ask: () => Promise<R>, signal: AbortSignal, deps: CalibrateDeps): Promise<R> {
  for (let attempt = 1; ; attempt += 1) {
    const result = await ask();
    if (result.status !== "retryable" || attempt === ATTEMPTS) return result;
    await deps.sleep(result.retryAfterMs, signal);
  }
}

/** Drawn orders, each second one its predecessor backwards: every attempt of a pair is as often first as last. */
function ordersOf(count: number, repeats: number, seed: number): number[][] {
  const random = seededRandom(seed + 1);
  const orders: number[][] = [];
  while (orders.length < repeats) {
    const drawn = Array.from({ length: count }, (_, member) => ({ member, place: random() }))
      .toSorted((a, b) => a.place - b.place)
      .map(({ member }) => member);
    orders.push(drawn, drawn.toReversed());
  }
  return orders.slice(0, repeats);
}

/** The label as a group of a night. Its members' journals name whose text they are, as a rollout's does, so that a reply is erased with them. */
function groupOf({ id, members, tools, sources }: HumanLabel, runId: string): TrajectoryGroup {
  const [scenarioId = id, ...others] = sources;
  const journal = others.map((tape) => ({
    ...{ step: 0, tool: "", callKey: "", rung: "R0" as const, servedFrom: { tape, entry: 0 }, confidence: 1 },
    ...{ stateBefore: "", stateAfter: "", isError: false },
  }));
  return {
    ...{ groupId: hash("sha256", `calibration|${id}`).slice(0, 32), runId, iteration: 0, scenarioId, adapterDigest: "", tools },
    members: members.map((member, index) => ({ ...member, rolloutId: String(index), scenarioId, calls: [], journal, seed: 0 })),
    fidelity: {
      ...{ callsByRung: {}, coverage: 1, realShare: 1, simulatedShare: 0, divergenceStep: null, stalenessMs: 0, weight: 1 },
      ...{ unmasked: members.length, decision: "train" },
    },
  };
}
