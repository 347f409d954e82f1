const CALL_S = [0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400];

/** What is measured of judges, of groups and of the gate's pairs; a part of the table in `metrics.ts`, which says what a metric is. */
export const JUDGE_METRIC = {
  judgeCallDuration: {
    name: "nightshift.judge.call.duration",
    kind: "histogram",
    unit: "s",
    description:
      "Questions to an LLM judge, with their repetitions and their wait in line: `answered`, `cached`, `retryable` or `rejected`.",
    attributes: ["gen_ai.request.model", "nightshift.outcome", "error.type"],
    bounds: CALL_S,
  },
  judgeTokens: {
    name: "nightshift.judge.tokens",
    kind: "counter",
    unit: "{token}",
    description: "Tokens that judges were paid for, unusable replies included.",
    attributes: ["gen_ai.request.model", "gen_ai.token.type"],
  },
  judgeCost: {
    name: "nightshift.judge.cost",
    kind: "counter",
    unit: "1",
    description: "What those tokens cost at the configured prices, in their currency. Nothing where no prices are configured.",
    attributes: ["gen_ai.request.model"],
  },
  judgeUnusableReplies: {
    name: "nightshift.judge.unusable_replies",
    kind: "counter",
    unit: "{reply}",
    description: "Replies that were not the scores that were asked for; each is asked for again, at most twice.",
    attributes: ["gen_ai.request.model"],
  },
  judgedGroups: {
    name: "nightshift.judged.groups",
    kind: "counter",
    unit: "{group}",
    description:
      "Groups of nights, when an iteration has judged all of its own: `kept`, or why they do not train. `judge_…` are without a score.",
    attributes: ["nightshift.agent", "nightshift.reason"],
  },
} as const;
