/** How many calls a run's rollouts may make of a live sandbox, and until when. */
export interface CallBudget {
  /** Takes one call; false where there is none left. */
  take(): boolean;
  /** Why nothing more is to be begun; null as long as something may. */
  spent(): string | null;
}

/** @param limits `used`: what the run had made before this process went on with it; `untilMs` on the clock of `now` */
export function createCallBudget(limits: { maxCalls: number; used: number; untilMs: number }, { now }: { now: () => number }): CallBudget {
  let { used } = limits;
  const spent = (): string | null => {
    if (used >= limits.maxCalls) return `${used} of ${limits.maxCalls} tool calls are made`;
    return now() >= limits.untilMs ? "its time is over" : null;
  };
  return {
    take() {
      if (spent() !== null) return false;
      used += 1;
      return true;
    },
    spent,
  };
}
