import type { Answer } from "./cascade/cascade.ts";
import type { PreparedCall } from "./cascade/prepare.ts";
import type { TapePool } from "./cascade/tape-pool.ts";
import { seededUnit } from "./seed.ts";

/**
 * How long the tool would have taken, in milliseconds: the recorded answer's own time, else drawn log-normally from the tool's p50 and p95 (ln p95 − ln p50 is
 * 1.645 standard deviations). A function of `seed`; 0 for a tool that nobody recorded. Nobody waits for it.
 */
export function latencyOf(
  pool: TapePool,
  call: PreparedCall,
  answer: Pick<Answer, "servedFrom">,
  seed: readonly (string | number)[],
): number {
  const { servedFrom } = answer;
  const recorded = servedFrom === null ? undefined : pool.ofTape(servedFrom.tape)[servedFrom.entry];
  if (recorded !== undefined) return Math.max(0, recorded.entry.latencyMs);
  const { p50, p95, samples } = call.profile.latencyMs;
  if (samples === 0 || p50 <= 0) return 0;
  const deviation = Math.log(Math.max(p95, p50) / p50) / 1.645;
  return Math.round(p50 * Math.exp(deviation * standardNormal(seed)));
}

/** Box and Muller's transform of two seeded draws, cut at three standard deviations. */
function standardNormal(seed: readonly (string | number)[]): number {
  const radius = Math.sqrt(-2 * Math.log(1 - seededUnit(...seed, "latency", 1)));
  return Math.max(-3, Math.min(3, radius * Math.cos(2 * Math.PI * seededUnit(...seed, "latency", 2))));
}
