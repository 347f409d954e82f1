/**
 * How much an answer counts that nobody recorded, in (0, 1]: a group's weight is made of these (fidelity.ts). Stated, not measured: what a given tool's
 * simulated answers are worth is told by comparing them with a world, not by the simulator.
 */
export const CONFIDENCE = {
  /** R5: the outcome was drawn with the tool's recorded error rate, or its body was written by the simulator. */
  simulated: 0.6,
  /** R6: a true answer, of another day than the scenario's. */
  liveRead: 0.8,
  /** R6 in a sandbox that nothing sets back: true, but siblings met a world that others had written to. */
  sharedSandbox: 0.8,
} as const;
