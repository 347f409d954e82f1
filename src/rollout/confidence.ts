/**
 * How much an answer counts that nobody recorded, in (0, 1]: a group's weight is made of these (fidelity.ts). Stated, not measured: what a given tool's
 * simulated answers are worth is told by comparing them with a world, not by the simulator.
 */
export const CONFIDENCE = {
  /** R5: a write that hardly ever fails, a body that is not certain, a read's outcome that was drawn, or a body that the simulator wrote. */
  simulated: 0.6,
  /** R6: a true answer, of another day than the scenario's. */
  liveRead: 0.8,
  /** R6 in a sandbox that nothing sets back: true, but siblings met a world that others had written to. */
  sharedSandbox: 0.8,
} as const;

/** How often something was seen to be so again, and how often otherwise. */
export interface Observed {
  same: number;
  changed: number;
}

/** Of what nobody has seen again. */
const UNSEEN = 0.85;
/** Observations that this counts as. */
const PRIOR_WEIGHT = 2;
/** Of what was seen again so often, and never otherwise. */
const SEEN = 0.97;
const MIN_SAME = 5;

/**
 * Confidence that something is so once more. Where exceptions were seen: the mean of the posterior after `same` and `changed`, with a Beta prior of weight 2 around
 * `UNSEEN`; never above what it would be without them.
 */
export function beliefAfter({ same, changed }: Observed, isShown = same >= MIN_SAME): number {
  const most = isShown ? SEEN : UNSEEN;
  return changed === 0 ? most : Math.min(most, 1 - (PRIOR_WEIGHT * (1 - UNSEEN) + changed) / (PRIOR_WEIGHT + same + changed));
}
