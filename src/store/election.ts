import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../log.ts";
import { createGauge } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import type { Database } from "./database.ts";
import { takeTerm } from "./leader-record.ts";

/** A lock that at most one process holds, and that falls with its holder. */
export interface HeldLock {
  /** Aborts the moment that the lock may be somebody else's; its reason is an Error that says why. */
  readonly signal: AbortSignal;
  /** Frees it for the next one. Never rejects. */
  release(): Promise<void>;
}

/** Resolves when this process holds the lock, however long that takes; rejects only when `signal` aborts. */
export type AcquireLock = (signal: AbortSignal) => Promise<HeldLock>;

/** The time of one process as leader. */
export interface Term {
  /** Grows with every term of any process. */
  readonly epoch: number;
  /** Aborts at once when this process no longer leads, whatever the reason. */
  readonly signal: AbortSignal;
  /** Ends the term from within. */
  resign(why: string): void;
}

/** Makes at most one of several processes the leader. */
export interface Election {
  /** What this process is called in the record. */
  readonly name: string;
  isLeader(): boolean;
  /** Calls `lead` whenever this process becomes leader. `lead` ends its work when the term's signal aborts and resolves then; until it has, there is no next term here. */
  campaign(lead: (term: Term) => Promise<void>): void;
  /** Ends the term, lets another process lead at once, and resolves when `lead` has ended. */
  close(): Promise<void>;
}

const PAUSE_AFTER_FAILURE_MS = 1_000;

/** The only candidate: for a database that this process has to itself. */
export const acquireAlone: AcquireLock = () => Promise.resolve({ signal: new AbortController().signal, release: () => Promise.resolve() });

export function createElection(
  { name }: { name: string },
  deps: { acquire: AcquireLock; database: Database; log: Logger; now: () => number },
): Election {
  const { acquire, database, log, now } = deps;
  const closing = new AbortController();
  const leads = createGauge(METRIC.controlLeader);
  let running: Promise<void> = Promise.resolve();
  let isLeader = false;

  const note = (leading: boolean): void => {
    isLeader = leading;
    leads.record(leading ? 1 : 0);
  };

  async function serve(lead: (term: Term) => Promise<void>): Promise<void> {
    const lock = await acquire(closing.signal);
    const resigned = new AbortController();
    const signal = AbortSignal.any([lock.signal, resigned.signal, closing.signal]);
    try {
      const epoch = await takeTerm(database.kysely, { name, nowMs: now() });
      if (signal.aborted) return;
      note(true);
      log.info({ leader: name, epoch }, "leadership gained");
      // The lock is freed when the term ends, not when its work has: the next leader needs no more consent than after a crash.
      signal.addEventListener("abort", () => {
        note(false);
        void lock.release();
        const level = closing.signal.aborted ? "info" : "warn";
        log[level]({ leader: name, epoch, problem: problemOf(signal.reason) }, "leadership lost");
      });
      await lead({ epoch, signal, resign: (why) => resigned.abort(new Error(why)) });
    } finally {
      resigned.abort(new Error("its work ended"));
      await lock.release();
    }
  }

  return {
    name,
    isLeader: () => isLeader,
    campaign(lead) {
      note(false);
      running = (async () => {
        while (!closing.signal.aborted) {
          try {
            await serve(lead);
          } catch (error) {
            if (closing.signal.aborted) return;
            log.error({ err: error, leader: name }, "leadership failed");
            await sleep(PAUSE_AFTER_FAILURE_MS, undefined, { signal: closing.signal }).catch(() => undefined);
          }
        }
      })();
    },
    async close() {
      closing.abort(new Error("this process is stopping"));
      await running;
    },
  };
}

function problemOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : "unknown";
}
