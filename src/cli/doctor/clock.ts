import { bad, ok, warn, type Finding } from "./finding.ts";

/** Grace periods, quarantines and signatures bear this much. */
const TOLERATED_MS = 1_000;
/** Beyond it conversations are cut at the wrong place, and S3 refuses what is signed. */
const UNBEARABLE_MS = 60_000;

/** How far another machine's clock is ahead of this one's, at least: null where it did not say. */
export function judgeClock(check: string, aheadMs: number | null): Finding {
  const fix = "Keep the clocks of all machines in step with NTP; look at both, one of the two is wrong.";
  if (aheadMs === null) return warn(check, "told no time: its clock cannot be compared with this machine's", "Compare them by hand once.");
  const told = `differs from this machine's by ${(aheadMs / 1_000).toFixed(1)} s`;
  if (Math.abs(aheadMs) > UNBEARABLE_MS) return bad(check, told, fix);
  return Math.abs(aheadMs) > TOLERATED_MS ? warn(check, told, fix) : ok(check, "agrees with this machine's");
}

/**
 * From a `Date` header, which has whole seconds, and the times just before and after asking: 0 while the answer may have been written at an equal time, else the
 * smallest difference that explains it.
 */
export function clockAheadMs(dateHeader: string | null | undefined, askedAtMs: number, answeredAtMs: number): number | null {
  const fromMs = Date.parse(dateHeader ?? "");
  if (Number.isNaN(fromMs)) return null;
  const untilMs = fromMs + 999;
  if (untilMs < askedAtMs) return untilMs - askedAtMs;
  return fromMs > answeredAtMs ? fromMs - answeredAtMs : 0;
}
