/** What a night would do, without doing it. */
export interface DryRun {
  agent: string;
  conversations: number;
  trainScenarios: number;
  heldOutScenarios: number;
  leftOut: Record<string, number>;
  iterations: number;
  /** Rollouts and, at most, model calls and judge calls. */
  rollouts: number;
  maxModelCalls: number;
  judgeCalls: number;
}
