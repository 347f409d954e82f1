/** Chance that a true share beyond the bound would have shown what was counted. */
const ALPHA = 0.05;
/** Halvings of an interval in [0, 1]: to the last bits of a double. */
const STEPS = 60;

/** Upper end of the one-sided 95 % Clopper–Pearson interval for `wrong` of `served` (Biometrika 26, 1934); 1 of nothing. */
export function upperBound(wrong: number, served: number): number {
  if (wrong >= served) return 1;
  let [low, high] = [wrong / served, 1];
  for (let step = 0; step < STEPS; step += 1) {
    const middle = (low + high) / 2;
    if (atMost(wrong, served, middle) > ALPHA) low = middle;
    else high = middle;
  }
  return high;
}

/** Lower end of the same: what the share surely exceeds; 0 of nothing. */
export function lowerBound(wrong: number, served: number): number {
  return served === 0 ? 0 : 1 - upperBound(served - wrong, served);
}

/** P(X ≤ wrong), X binomial. Summed through logarithms: (1 − p)^n is no double for a large n. */
function atMost(wrong: number, served: number, probability: number): number {
  const [success, failure] = [Math.log(probability), Math.log1p(-probability)];
  let choose = 0;
  let sum = 0;
  for (let count = 0; count <= wrong; count += 1) {
    if (count > 0) choose += Math.log((served - count + 1) / count);
    sum += Math.exp(choose + count * success + (served - count) * failure);
  }
  return sum;
}
