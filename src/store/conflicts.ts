import { setTimeout as sleep } from "node:timers/promises";
import { nightshiftError } from "../errors.ts";

/** Postgres' SQLSTATEs of a transaction that lost against another one: could not serialise, deadlock. Neither left anything behind. */
const LOST = new Set(["40001", "40P01"]);
/**
 * Two transactions that both found a key free and wrote it: now and then the loser is told this, though it could not have happened one after the other. The next attempt finds the row;
 * one that does not has broken a rule of the schema.
 */
const DUPLICATE = "23505";
const DUPLICATE_ATTEMPTS = 3;
const ATTEMPTS = 12;
const LONGEST_WAIT_MS = 250;

/**
 * Runs a whole transaction again as long as it loses against others (three times at most where a key was taken), after a random wait that grows. Of transactions that conflict at least one commits, so
 * twelve attempts last for a dozen that all want the same row.
 * @throws NightshiftError `store_unavailable` when the last attempt lost too
 */
export async function repeatConflicts<T>(run: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await run();
    } catch (cause) {
      const code = String((cause as { code?: unknown }).code);
      if (!LOST.has(code) && (code !== DUPLICATE || attempt >= DUPLICATE_ATTEMPTS)) throw cause;
      if (attempt === ATTEMPTS) {
        throw nightshiftError("store_unavailable", { problem: `a transaction lost against others ${ATTEMPTS} times` }, { cause });
      }
      await sleep(Math.random() * Math.min(LONGEST_WAIT_MS, 2 ** attempt));
    }
  }
}
