export type LeaseState = "never_held" | "held" | "lapsed";

/**
 * A dead-man switch per id: held while it was renewed within `leaseMs` on a monotonic clock, so that a wall clock that jumps neither
 * lengthens nor cuts it.
 */
export interface Lease {
  /** Renews it as of `atMs` on the monotonic clock; what would have lapsed by now renews nothing. */
  renew(id: string, atMs: number): void;
  state(id: string): LeaseState;
  /** Since it was last renewed; since this switch was made where it never was. */
  ageMs(id: string): number;
}

export function createLease(config: { leaseMs: number }, deps: { monotonicMs: () => number }): Lease {
  const renewedAtMs = new Map<string, number>();
  const madeAtMs = deps.monotonicMs();
  return {
    ageMs: (id) => Math.max(0, deps.monotonicMs() - (renewedAtMs.get(id) ?? madeAtMs)),
    renew(id, atMs) {
      const nowMs = deps.monotonicMs();
      if (nowMs - atMs < config.leaseMs) renewedAtMs.set(id, Math.max(renewedAtMs.get(id) ?? atMs, Math.min(atMs, nowMs)));
    },
    state(id) {
      const renewed = renewedAtMs.get(id);
      if (renewed === undefined) return "never_held";
      return deps.monotonicMs() - renewed < config.leaseMs ? "held" : "lapsed";
    },
  };
}
