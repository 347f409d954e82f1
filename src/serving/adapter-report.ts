import type { Logger } from "../log.ts";
import type { DesiredAdapter } from "./adapter-bring-up.ts";
import type { ProofFigures } from "./attest.ts";

export type AdapterFinding =
  | { status: "attested"; figures: ProofFigures }
  | { status: "refused"; reason: string; detail: string }
  /** An attested adapter is gone: the server restarted or dropped it. A new report follows when it is back. */
  | { status: "lost" };

/** What the control plane hears of one adapter on one replica. Only the newest report of an adapter counts. */
export type AdapterReport = DesiredAdapter & {
  replica: string;
  /** Identity of the server process that the finding is about; of the new one where an adapter was lost in a restart. */
  instance: string;
  atMs: number;
} & AdapterFinding;

/** Reports that wait for delivery, the newest of each adapter: what failed is handed over again by the next flush. */
export function createReportOutbox(
  config: { replica: string },
  deps: { publish: (report: AdapterReport, options: { signal?: AbortSignal }) => Promise<void>; now: () => number; log: Logger },
) {
  const waiting = new Map<string, AdapterReport>();
  return {
    add({ name, digest }: DesiredAdapter, instance: string, finding: AdapterFinding): void {
      waiting.set(name, { name, digest, replica: config.replica, instance, atMs: deps.now(), ...finding });
      const reason = finding.status === "refused" ? { reason: finding.reason } : {};
      deps.log.info({ adapter_id: digest, replica: config.replica, status: finding.status, ...reason }, "adapter reported");
    },
    async flush(options: { signal?: AbortSignal }): Promise<void> {
      for (const [name, report] of waiting) {
        try {
          await deps.publish(report, options);
          if (waiting.get(name) === report) waiting.delete(name);
        } catch (cause) {
          if (options.signal?.aborted === true) throw cause;
          deps.log.warn({ adapter_id: report.digest, replica: config.replica, err: cause }, "adapter report not delivered");
        }
      }
    },
  };
}
