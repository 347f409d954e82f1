import { createCounter, createGauge } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { logWealth } from "./canary-statistics.ts";
import type { CanaryState } from "./canary.ts";
import type { Event, State } from "./promotion.ts";

/** What is measured of promotions. */
export interface CanaryMeters {
  /** @param canary the running canary's numbers, null when none runs: then the gauges go back to 0, which is what no evidence is */
  seen(agent: string, canary: CanaryState | null): void;
  moved(agent: string, event: Event, state: State): void;
}

export function createCanaryMeters(): CanaryMeters {
  const evidence = createGauge(METRIC.canaryLogEvidence);
  const units = createGauge(METRIC.canaryUnits);
  const transitions = createCounter(METRIC.promotionTransitions);
  return {
    seen(agent, canary) {
      evidence.record(canary === null ? 0 : logWealth(canary.promote), { "nightshift.agent": agent, "nightshift.evidence": "promote" });
      evidence.record(canary === null ? 0 : logWealth(canary.harm), { "nightshift.agent": agent, "nightshift.evidence": "harm" });
      const candidate = canary?.candidateUnits ?? 0;
      units.record(candidate, { "nightshift.agent": agent, "nightshift.assignment.arm": "candidate" });
      units.record((canary?.units ?? 0) - candidate, { "nightshift.agent": agent, "nightshift.assignment.arm": "stable" });
    },
    moved(agent, event, state) {
      transitions.add(1, { "nightshift.agent": agent, "nightshift.event": event, "nightshift.state": state });
    },
  };
}
