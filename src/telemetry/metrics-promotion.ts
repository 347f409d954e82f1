/** What is measured of promotions where their controller runs; a part of the table in `metrics.ts`, which says what a metric is. */
export const PROMOTION = {
  canaryLogEvidence: {
    name: "nightshift.canary.log_evidence",
    kind: "gauge",
    unit: "{nat}",
    description:
      "Natural logarithm of the running canary's e-values as of the last unit. Each decides at its `nightshift.canary.log_threshold`. 0 without a canary.",
    attributes: ["nightshift.agent", "nightshift.evidence"],
  },
  canaryLogThreshold: {
    name: "nightshift.canary.log_threshold",
    kind: "gauge",
    unit: "{nat}",
    description: "What `nightshift.canary.log_evidence` must reach: `promote` then promotes, all others roll back. 0 without a canary.",
    attributes: ["nightshift.agent", "nightshift.evidence"],
  },
  canaryUnits: {
    name: "nightshift.canary.units",
    kind: "gauge",
    unit: "{unit}",
    description: "Assignment keys in the running canary's analysis. 0 without a canary.",
    attributes: ["nightshift.agent", "nightshift.assignment.arm"],
  },
  promotionTransitions: {
    name: "nightshift.promotion.transitions",
    kind: "counter",
    unit: "{transition}",
    description: "Moves of a promotion through its states, the gate's decision first.",
    attributes: ["nightshift.agent", "nightshift.event", "nightshift.state"],
  },
} as const;
