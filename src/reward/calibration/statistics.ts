import { seededRandom } from "../../seeded-random.ts";

/** A figure with a 95 % interval. */
export interface Estimate {
  value: number;
  low: number;
  high: number;
}

/** The 97.5 % point of the normal distribution. */
const Z = 1.959963984540054;
const RESAMPLES = 2_000;

/**
 * Wilson's score interval of a share, 95 %. Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927). Never empty, also at 0 and 1.
 * @param n independent units behind the share; need not be whole
 */
export function wilson(share: number, n: number): Estimate {
  const centre = (share + Z ** 2 / (2 * n)) / (1 + Z ** 2 / n);
  const half = (Z / (1 + Z ** 2 / n)) * Math.sqrt((share * (1 - share)) / n + Z ** 2 / (4 * n ** 2));
  return { value: share, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/**
 * Kendall's τ-b: (concordant − discordant pairs) / √((pairs not tied in x)(pairs not tied in y)), in [−1, 1]. Source: M. G. Kendall, The treatment of ties in ranking problems, Biometrika 33
 * (1945). Null where all of `x` or all of `y` are tied: it is not defined there.
 */
export function kendallTauB(x: readonly number[], y: readonly number[]): number | null {
  let [balance, untiedX, untiedY] = [0, 0, 0];
  for (let i = 0; i < x.length; i += 1) {
    for (let j = 0; j < i; j += 1) {
      const dx = Math.sign((x[i] ?? 0) - (x[j] ?? 0));
      const dy = Math.sign((y[i] ?? 0) - (y[j] ?? 0));
      balance += dx * dy;
      untiedX += Math.abs(dx);
      untiedY += Math.abs(dy);
    }
  }
  return untiedX === 0 || untiedY === 0 ? null : balance / Math.sqrt(untiedX * untiedY);
}

/**
 * A statistic of `units` with its percentile bootstrap interval, 95 %: units are drawn again with replacement. Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
 * Deterministic by seed. Null where the statistic of the units themselves is null; resamples without one are left out.
 */
export function bootstrap<T>(units: readonly T[], statistic: (sample: readonly T[]) => number | null, seed: number): Estimate | null {
  const value = statistic(units);
  if (value === null) return null;
  const random = seededRandom(seed);
  const drawn: number[] = [];
  for (let resample = 0; resample < RESAMPLES; resample += 1) {
    const found = statistic(units.map((unit) => units[Math.floor(random() * units.length)] ?? unit));
    if (found !== null) drawn.push(found);
  }
  drawn.sort((a, b) => a - b);
  const at = (quantile: number) => drawn[Math.min(drawn.length - 1, Math.floor(quantile * drawn.length))] ?? value;
  return { value, low: Math.min(value, at(0.025)), high: Math.max(value, at(0.975)) };
}

/** Several measurements of one thing: each its own place on x, and what was measured there. */
export type Repeated = readonly { x: number; y: number }[];

/** A ratio of two sums, label by label: what a bootstrap adds up again and again. */
export interface Ratio {
  above: number;
  below: number;
}

/** Null where the sum below is 0. */
export function ratioOf(parts: readonly Ratio[]): number | null {
  let [above, below] = [0, 0];
  for (const part of parts) {
    above += part.above;
    below += part.below;
  }
  return below === 0 ? null : above / below;
}

/**
 * Slope of y on x when every thing keeps a level of its own, as a ratio: Σ(x − x̄ᵢ)(y − ȳᵢ) over Σ(x − x̄ᵢ)², over all things i (the within, or fixed-effects, estimator; J. M. Wooldridge,
 * Econometric Analysis of Cross Section and Panel Data, chapter 10). Nothing is below where no thing was measured at two places.
 */
export function withinSlope(things: readonly Repeated[]): Ratio {
  let [above, below] = [0, 0];
  for (const thing of things) {
    const [meanX, meanY] = [mean(thing.map(({ x }) => x)), mean(thing.map(({ y }) => y))];
    for (const { x, y } of thing) {
      above += (x - meanX) * (y - meanY);
      below += (x - meanX) ** 2;
    }
  }
  return { above, below };
}

/** Pooled variance of repeats, as a ratio: Σ(y − ȳᵢ)² over Σ(nᵢ − 1), unbiased. Nothing is below where nothing was measured twice. */
export function repeatVariance(things: readonly (readonly number[])[]): Ratio {
  let [above, below] = [0, 0];
  for (const values of things) {
    const centre = mean(values);
    for (const value of values) above += (value - centre) ** 2;
    below += Math.max(0, values.length - 1);
  }
  return { above, below };
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
