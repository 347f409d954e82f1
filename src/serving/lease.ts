export type LeaseState = "never_held" | "held" | "lapsed";

/**
 * A dead-man switch per id: held while it was renewed within `leaseMs` on a monotonic clock, so that a wall clock that jumps neither
 * lengthens nor cuts it.
 */
export interface Lease {
  renew(id: string): void;
  state(id: string): LeaseState;
}

export function createLease(config: { leaseMs: number }, deps: { monotonicMs: () => number }): Lease {
  const renewedAtMs = new Map<string, number>();
  return {
    renew(id) {
      renewedAtMs.set(id, deps.monotonicMs());
    },
    state(id) {
      const renewed = renewedAtMs.get(id);
      if (renewed === undefined) return "never_held";
      return deps.monotonicMs() - renewed < config.leaseMs ? "held" : "lapsed";
    },
  };
}
