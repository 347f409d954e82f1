/** Scores of the same attempts of one group, in the same order, from two askings of the same judge. */
export interface Repeat {
  first: readonly number[];
  second: readonly number[];
}

/**
 * How far a judge's score of one attempt is from what it gives the same attempt when asked again: the standard deviation of a single score. A shift of a whole group
 * between the two askings is no deviation, because a baseline takes it out. With d = second − first of each of a group's n attempts,
 * s² = Σ_groups Σ (d − d̄)² / (2 Σ_groups (n − 1)): the two halves of a difference of equal variances, pooled. Null without a group of two attempts. Pure.
 */
export function repeatDeviation(repeats: readonly Repeat[]): number | null {
  let squares = 0;
  let degrees = 0;
  for (const { first, second } of repeats) {
    const differences = first.map((score, index) => (second[index] ?? Number.NaN) - score);
    if (differences.length < 2) continue;
    const mean = differences.reduce((sum, difference) => sum + difference, 0) / differences.length;
    squares += differences.reduce((sum, difference) => sum + (difference - mean) ** 2, 0);
    degrees += differences.length - 1;
  }
  return degrees === 0 ? null : Math.sqrt(squares / (2 * degrees));
}
