/** What a night would do, without doing it. */
export interface DryRun {
  agent: string;
  conversations: number;
  trainScenarios: number;
  heldOutScenarios: number;
  leftOut: Record<string, number>;
  /** How many of the training scenarios would be played how, as `mode (reason)`. */
  modes: Record<string, number>;
  iterations: number;
  /** Rollouts and, at most, model calls and judge calls. */
  rollouts: number;
  maxModelCalls: number;
  judgeCalls: number;
}
