/**
 * How much an answer counts that nobody recorded, in (0, 1]: a group's weight is made of these (fidelity.ts). Stated, not measured: what a given tool's
 * simulated answers are worth is told by comparing them with a world, not by the simulator.
 */
export const CONFIDENCE = {
  /** R5: a write that hardly ever fails, a body that is not certain, a read's outcome that was drawn, or a body that the simulator wrote. */
  simulated: 0.6,
  /** R6: a true answer, of another day than the scenario's. */
  liveRead: 0.8,
  /** R6 in a sandbox that nothing sets back: true, but siblings met a world that others had written to. */
  sharedSandbox: 0.8,
} as const;
