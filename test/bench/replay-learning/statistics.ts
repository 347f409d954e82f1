import { createRandom } from "../../../deploy/quickstart/random.ts";

/** One paired seed: success (0 to 1) of the start, after the night in the true environment, and after the night on replay, each over the same scenarios. */
export interface Paired {
  seed: number;
  start: readonly boolean[];
  inTruth: readonly boolean[];
  onReplay: readonly boolean[];
}

/** Over seeds: `lower` is the lower end of the one-sided 90 % t interval of the mean. */
export interface PairedDifference {
  mean: number;
  deviation: number;
  lower: number;
}

export interface Conclusion {
  seeds: number;
  scenarios: number;
  start: number;
  inTruth: number;
  onReplay: number;
  /** (replay − start) / (truth − start), of the means over seeds. */
  ratio: number;
  /** 95 % percentile interval of `ratio`, seeds and scenarios resampled. */
  ratioInterval: [number, number];
  /** Mean over seeds of D = (replay − start) − ρ(truth − start), its standard deviation, and the lower end of its one-sided 90 % t interval. */
  difference: PairedDifference;
  /** Why the comparison may be made at all: the true night gained 15 points or more and left something to gain. */
  isInformative: boolean;
  /** `isInformative`, and replay reached at least ρ of the true night's gain at that level. */
  isVerified: boolean;
}

/** Share of the true environment's gain that replay has to reach. */
export const RHO = 0.8;
const MIN_GAIN = 0.15;
const CEILING = 0.95;
const RESAMPLES = 4_000;

/** @throws RangeError for fewer than two seeds, or seeds with different numbers of scenarios */
export function conclude(pairs: readonly Paired[]): Conclusion {
  const [first] = pairs;
  if (first === undefined || pairs.length < 2) throw new RangeError("a paired comparison needs two seeds or more");
  const scenarios = first.start.length;
  for (const { start, inTruth, onReplay } of pairs) {
    if ([start, inTruth, onReplay].some(({ length }) => length !== scenarios))
      throw new RangeError("all seeds are measured on as many scenarios");
  }
  const rates = pairs.map((pair) => ({ start: share(pair.start), inTruth: share(pair.inTruth), onReplay: share(pair.onReplay) }));
  const differences = rates.map((rate) => rate.onReplay - rate.start - RHO * (rate.inTruth - rate.start));
  const averages = {
    start: mean(rates.map((rate) => rate.start)),
    inTruth: mean(rates.map((rate) => rate.inTruth)),
    onReplay: mean(rates.map((rate) => rate.onReplay)),
  };
  const difference = lowerEnd(differences);
  const isInformative = averages.inTruth - averages.start >= MIN_GAIN && averages.inTruth < CEILING;
  return {
    seeds: pairs.length,
    scenarios,
    ...averages,
    ratio: (averages.onReplay - averages.start) / (averages.inTruth - averages.start),
    ratioInterval: bootstrap(pairs),
    difference,
    isInformative,
    isVerified: isInformative && difference.lower > 0,
  };
}

/** @throws RangeError for fewer than two differences */
export function lowerEnd(differences: readonly number[]): PairedDifference {
  const count = differences.length;
  if (count < 2) throw new RangeError("a paired comparison needs two seeds or more");
  const average = mean(differences);
  const deviation = Math.sqrt(differences.reduce((sum, value) => sum + (value - average) ** 2, 0) / (count - 1));
  return { mean: average, deviation, lower: average - (studentT90(count - 1) * deviation) / Math.sqrt(count) };
}

/** 0.90 quantiles of Student's t for 1 to 20 degrees of freedom, as any table prints them. */
const STUDENT_T_90 = [
  3.078, 1.886, 1.638, 1.533, 1.476, 1.44, 1.415, 1.397, 1.383, 1.372, 1.363, 1.356, 1.35, 1.345, 1.341, 1.337, 1.333, 1.33, 1.328, 1.325,
];

function studentT90(degrees: number): number {
  return STUDENT_T_90[Math.min(degrees, STUDENT_T_90.length) - 1] ?? Number.POSITIVE_INFINITY;
}

function bootstrap(pairs: readonly Paired[]): [number, number] {
  const random = createRandom("replay-learning", pairs.length);
  const ratios = Array.from({ length: RESAMPLES }, () => {
    const sums = { start: 0, inTruth: 0, onReplay: 0 };
    for (let drawn = 0; drawn < pairs.length; drawn += 1) {
      const pair = random.pick(pairs);
      for (let place = 0; place < pair.start.length; place += 1) {
        const scenario = random.integer(0, pair.start.length - 1);
        sums.start += Number(pair.start[scenario]);
        sums.inTruth += Number(pair.inTruth[scenario]);
        sums.onReplay += Number(pair.onReplay[scenario]);
      }
    }
    return (sums.onReplay - sums.start) / (sums.inTruth - sums.start);
  }).toSorted((a, b) => a - b);
  const at = (quantile: number): number => ratios[Math.min(RESAMPLES - 1, Math.floor(quantile * RESAMPLES))] ?? 0;
  return [at(0.025), at(0.975)];
}

function share(outcomes: readonly boolean[]): number {
  return outcomes.filter(Boolean).length / outcomes.length;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
