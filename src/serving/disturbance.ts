import { z } from "zod";

/** What happened to a gateway's traffic that no conversation open at that instant may be judged across. */
export const disturbanceCauses = ["gateway_restart", "lease_lapse"] as const;
export type DisturbanceCause = (typeof disturbanceCauses)[number];

/** A disturbance as a gateway tells it. Clocks differ between machines, so it says how long ago. */
export const disturbanceSchema = z.strictObject({
  agent: z.string().min(1).max(40),
  cause: z.enum(disturbanceCauses),
  agoMs: z
    .number()
    .min(0)
    .max(7 * 86_400_000),
});
export type Disturbance = z.infer<typeof disturbanceSchema>;

/** Disturbances that the control plane has not heard of yet. */
export interface DisturbanceOutbox {
  note(agent: string, cause: DisturbanceCause): void;
  /** Hands the agent's disturbances to `tell`, oldest first, each until it resolves. Rejects with the first that fails; that one and the rest stay. */
  flush(agent: string, tell: (disturbance: Disturbance) => Promise<void>): Promise<void>;
}

/** More would say nothing new: a boundary at every instant of an outage excludes the same conversations. */
const MAX_WAITING = 100;

export function createDisturbanceOutbox(deps: { monotonicMs: () => number }): DisturbanceOutbox {
  const waiting: { agent: string; cause: DisturbanceCause; atMs: number }[] = [];
  return {
    note(agent, cause) {
      if (waiting.length < MAX_WAITING) waiting.push({ agent, cause, atMs: deps.monotonicMs() });
    },
    async flush(agent, tell) {
      for (;;) {
        const next = waiting.find((one) => one.agent === agent);
        if (next === undefined) return;
        await tell({ agent, cause: next.cause, agoMs: deps.monotonicMs() - next.atMs });
        waiting.splice(waiting.indexOf(next), 1);
      }
    },
  };
}
