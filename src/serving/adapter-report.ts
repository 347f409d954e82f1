import { z } from "zod";
import type { Logger } from "../log.ts";
import type { DesiredAdapter } from "./adapter-bring-up.ts";

const about = {
  name: z.string().max(200),
  digest: z.string().max(100),
  replica: z.string().max(200),
  /** Identity of the server process that the finding is about; of the new one where an adapter was lost in a restart. */
  instance: z.string().max(200),
  atMs: z.number(),
};

/** Figures of a proof as they travel: NaN and Infinity have no JSON, null stands for them. */
const figureSchema = z
  .number()
  .nullable()
  .transform((value) => value ?? Number.NaN);

/** What the control plane hears of one adapter on one replica. Only the newest report of an adapter counts. */
export const adapterReportSchema = z.discriminatedUnion("status", [
  z.strictObject({
    ...about,
    status: z.literal("attested"),
    figures: z.strictObject({ probeTokens: figureSchema, slope: figureSchema, t: figureSchema, baseGap: figureSchema }),
  }),
  z.strictObject({ ...about, status: z.literal("refused"), reason: z.string().max(200), detail: z.string().max(2_000) }),
  /** An attested adapter is gone: the server restarted or dropped it. A new report follows when it is back. */
  z.strictObject({ ...about, status: z.literal("lost") }),
]);
export type AdapterReport = z.infer<typeof adapterReportSchema>;

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
export type AdapterFinding = Without<AdapterReport, keyof typeof about>;

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
