/** Replay's own rows of the table of metrics.ts, which checks them. */
export const REPLAY = {
  replayCalls: {
    name: "nightshift.replay.calls",
    kind: "counter",
    unit: "{call}",
    description: "Tool calls of judged groups, by the rung that answered; `R7` is no answer.",
    attributes: ["nightshift.agent", "nightshift.rung"],
  },
  replayWrongShare: {
    name: "nightshift.replay.wrong_share",
    kind: "gauge",
    unit: "1",
    description: "Share of recorded answers that replay gave differently without their own tape, as the newest run measured it.",
    attributes: ["nightshift.agent", "nightshift.rung"],
  },
  replayAlarms: {
    name: "nightshift.replay.alarms",
    kind: "counter",
    unit: "{alarm}",
    description:
      "What was alarming about an iteration's replay: `mask_rate`, `mask_gap`, `agent_faults`, `off_tape_rise`, `cluster_gap`, `simulator_correlated` or `false_success`.",
    attributes: ["nightshift.agent", "nightshift.reason"],
  },
} as const;
