/** How far a candidate has moved, on what it said itself in the gate: pure. The scoring is someone else's (`gate-score.ts`). */

/** Σ (log π_candidate − log π_other) over sampled tokens, in nats, and how many there were. */
export interface KlSums {
  tokens: number;
  toStable: number;
  toBase: number;
}

/** Caps in nats per token; null: the figure is only reported. */
export interface KlCaps {
  toStable: number | null;
  toBase: number | null;
}

export interface KlFigures {
  /** Rollouts that were scored; `unmeasured` are those that no server would score. */
  rollouts: number;
  unmeasured: number;
  tokens: number;
  /** Nats per token; null without a token. */
  toStable: number | null;
  toBase: number | null;
}

/** Pairs whose rollout was not asked about have no `kl`; null is one that could not be measured. Pure. */
export function klFigures(pairs: readonly { kl?: KlSums | null }[]): KlFigures {
  const asked = pairs.flatMap(({ kl }) => (kl === undefined ? [] : [kl]));
  const measured = asked.filter((kl) => kl !== null);
  const sum = (of: (kl: KlSums) => number): number => measured.reduce((total, kl) => total + of(kl), 0);
  const tokens = sum((kl) => kl.tokens);
  const perToken = (total: number): number | null => (tokens === 0 ? null : total / tokens);
  return {
    rollouts: measured.length,
    unmeasured: asked.length - measured.length,
    tokens,
    toStable: perToken(sum((kl) => kl.toStable)),
    toBase: perToken(sum((kl) => kl.toBase)),
  };
}

/** Which cap a candidate is beyond, or that too little was measured to say; null where neither. Pure. */
export function klProblem(
  figures: KlFigures,
  caps: KlCaps,
  maxUnmeasuredShare: number,
): "kl_to_stable" | "kl_to_base" | "kl_unmeasured" | null {
  const { rollouts, unmeasured, toStable, toBase } = figures;
  if (caps.toStable !== null && toStable !== null && toStable > caps.toStable) return "kl_to_stable";
  if (caps.toBase !== null && toBase !== null && toBase > caps.toBase) return "kl_to_base";
  if (caps.toStable === null && caps.toBase === null) return null;
  return toStable === null || unmeasured > maxUnmeasuredShare * (rollouts + unmeasured) ? "kl_unmeasured" : null;
}
