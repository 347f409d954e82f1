import { nightshiftError } from "../errors.ts";
import type { ApiDeps } from "./control.ts";

/** Many looks long; below any lease that lives through one lost answer. */
const OUT_OF_TOUCH_MS = 5_000;

/**
 * Gateways and balancers must not stay with a replica that does not see the database any more.
 * @throws NightshiftError `store_unavailable`
 */
export function requireTouch({ watch, monotonicMs }: ApiDeps): void {
  const lookedAtMs = watch.lookedAtMs();
  if (lookedAtMs !== null && monotonicMs() - lookedAtMs < OUT_OF_TOUCH_MS) return;
  const since = lookedAtMs === null ? "since it started" : `for ${Math.round((monotonicMs() - lookedAtMs) / 1_000)} s`;
  throw nightshiftError("store_unavailable", { problem: `this replica has not seen it ${since}` });
}
