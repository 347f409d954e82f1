import { createCounter, createHistogram } from "../../telemetry/instruments.ts";
import { METRIC } from "../../telemetry/metrics.ts";
import type { SeenCall } from "./capture/seen.ts";

/** What is counted of live calls. */
export interface CallMeters {
  addedLatency(agent: string, ms: number): void;
  failover(agent: string, reason: string): void;
  /** @param call `status` is what was answered, null when nothing was */
  ended(call: Pick<SeenCall, "agent" | "target" | "fallback" | "errorType"> & { arm: string; status: number | null }): void;
}

export function createCallMeters(): CallMeters {
  const requests = createCounter(METRIC.gatewayRequests);
  const added = createHistogram(METRIC.gatewayAddedLatency);
  const failovers = createCounter(METRIC.gatewayFailovers);
  const fallbacks = createCounter(METRIC.gatewayFallbacks);
  return {
    addedLatency: (agent, ms) => added.record(ms / 1_000, { "nightshift.agent": agent }),
    failover: (agent, reason) => failovers.add(1, { "nightshift.agent": agent, "nightshift.reason": reason }),
    ended({ agent, arm, target, fallback, status, errorType }) {
      requests.add(1, {
        "nightshift.agent": agent,
        "nightshift.assignment.arm": arm,
        "nightshift.adapter.name": target?.name ?? "none",
        ...(status === null ? {} : { "http.response.status_code": status }),
        ...(errorType === null ? {} : { "error.type": errorType }),
      });
      if (fallback !== null) fallbacks.add(1, { "nightshift.agent": agent, "nightshift.reason": fallback });
    },
  };
}
