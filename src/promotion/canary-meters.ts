import { createCounter, createGauge } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { logEvidence, newCanaryState, type CanaryParameters, type CanaryState } from "./canary.ts";
import type { Event, State } from "./promotion.ts";

/** What is measured of promotions. */
export interface CanaryMeters {
  /**
   * @param canary the running canary's numbers, null when none runs or this process no longer looks: then the gauges go back to 0, which is what no evidence is. An SDK repeats a gauge's last
   * point for as long as the process lives
   */
  seen(agent: string, canary: { state: CanaryState; parameters: CanaryParameters } | null): void;
  moved(agent: string, event: Event, state: State): void;
}

export function createCanaryMeters(): CanaryMeters {
  const evidence = createGauge(METRIC.canaryLogEvidence);
  const thresholds = createGauge(METRIC.canaryLogThreshold);
  const units = createGauge(METRIC.canaryUnits);
  const transitions = createCounter(METRIC.promotionTransitions);
  return {
    seen(agent, canary) {
      for (const { name, log, threshold } of logEvidence(canary?.state ?? newCanaryState(), canary?.parameters ?? { alpha: 1 })) {
        evidence.record(canary === null ? 0 : log, { "nightshift.agent": agent, "nightshift.evidence": name });
        thresholds.record(canary === null ? 0 : threshold, { "nightshift.agent": agent, "nightshift.evidence": name });
      }
      const candidate = canary?.state.candidateUnits ?? 0;
      units.record(candidate, { "nightshift.agent": agent, "nightshift.assignment.arm": "candidate" });
      units.record((canary?.state.units ?? 0) - candidate, { "nightshift.agent": agent, "nightshift.assignment.arm": "stable" });
    },
    moved(agent, event, state) {
      transitions.add(1, { "nightshift.agent": agent, "nightshift.event": event, "nightshift.state": state });
    },
  };
}
