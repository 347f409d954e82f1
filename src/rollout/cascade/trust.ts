import type { Rung } from "../group.ts";

/** How far the cascade may be believed, by tool and rung: what `measureFidelity` found, or nothing yet. */
export interface Trust {
  /** Confidence in an answer of this rung that is not the own tape's. `prior` is the rung's own. */
  confidenceOf(tool: string, rung: Rung, prior: number): number;
  /** Whether the tool is answered from this rung at all. */
  serves(tool: string, rung: Rung): boolean;
}

/** One tool's measured record at one rung. */
export interface RungRecord {
  rung: Rung;
  /** Answers that were compared with a recording, and how many of them differed. */
  served: number;
  wrong: number;
  /** The tool is no longer answered from this rung. */
  refused: boolean;
}

/** Below this many compared answers a rung keeps the confidence that it came with. */
export const MIN_MEASURED = 20;
/** Compared answers that a rung's own confidence counts as. */
const PRIOR_WEIGHT = 20;

/** Trusts every rung as far as it says itself. */
export const UNMEASURED: Trust = { confidenceOf: (_tool, _rung, prior) => prior, serves: () => true };

/**
 * Trust by measurement. With a Beta prior of weight 20 around the rung's own confidence c, the wrong share after `wrong` of `served` has the posterior mean
 * (20(1 − c) + wrong) / (20 + served); the confidence is what is left of 1.
 */
export function measuredTrust(tools: readonly { tool: string; rungs: readonly RungRecord[] }[]): Trust {
  const records = new Map(tools.flatMap(({ tool, rungs }) => rungs.map((record) => [`${record.rung}|${tool}`, record])));
  return {
    confidenceOf(tool, rung, prior) {
      const record = records.get(`${rung}|${tool}`);
      if (record === undefined || record.served < MIN_MEASURED) return prior;
      return 1 - (PRIOR_WEIGHT * (1 - prior) + record.wrong) / (PRIOR_WEIGHT + record.served);
    },
    serves: (tool, rung) => records.get(`${rung}|${tool}`)?.refused !== true,
  };
}
