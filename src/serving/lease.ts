/**
 * A dead-man switch per id: held while it was renewed within `leaseMs` on a monotonic clock, so that a wall clock that jumps neither
 * lengthens nor cuts it. Never renewed is not held.
 */
export interface Lease {
  renew(id: string): void;
  held(id: string): boolean;
}

export function createLease(config: { leaseMs: number }, deps: { monotonicMs: () => number }): Lease {
  const renewedAtMs = new Map<string, number>();
  return {
    renew(id) {
      renewedAtMs.set(id, deps.monotonicMs());
    },
    held(id) {
      const renewed = renewedAtMs.get(id);
      return renewed !== undefined && deps.monotonicMs() - renewed < config.leaseMs;
    },
  };
}
