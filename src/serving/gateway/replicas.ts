import { Pool } from "undici";
import type { Logger } from "../../log.ts";
import { STANDINGS, startReadinessCheck, type Standing } from "./readiness.ts";

/** One policy server of an agent. `apiKey` replaces the caller's `authorization`; it is never logged. */
export interface Upstream {
  url: string;
  apiKey?: string | undefined;
  /** Where its adapter agent says whether it may get traffic. */
  readinessUrl?: string | undefined;
  /** Off: whoever runs it says that it may not; it is asked where no other can. */
  isReady?: boolean;
}

export interface Replica {
  readonly pool: Pool;
  /** Path of the upstream's base URL, without a trailing slash. */
  readonly basePath: string;
  readonly apiKey: string | undefined;
}

export type Acquired =
  | {
      status: "acquired";
      replica: Replica;
      /** Must be called exactly once; "failed" counts towards ejection, "unknown" says nothing about the replica's health. */
      release: (outcome: "ok" | "failed" | "unknown") => void;
      /** The head of an answer has come, or a part of its body. */
      noteLife: () => void;
      /** The replica has sent nothing to anybody for half a time limit: it hangs, where a busy one still answers others. */
      isSilent: () => boolean;
    }
  /** As many calls wait as may. */
  | { status: "queue_full" }
  | { status: "queue_timeout" }
  /** Every replica is ejected. */
  | { status: "unavailable"; retryAfterMs: number };

/** The replicas of one agent: round robin over those of the best standing, passive ejection with a circuit breaker per replica, bounded concurrency and queue. */
export interface Fleet {
  readonly size: number;
  /** Takes a slot, on a replica outside `avoid` where one is healthy. An aborted `signal` leaves the queue, as if its time were over. */
  acquire(avoid: ReadonlySet<Replica>, options: { signal: AbortSignal }): Promise<Acquired>;
  /** Replaces the replicas. Those that stay keep what is known of them, calls on those that go end as they may. */
  update(upstreams: readonly Upstream[]): void;
  close(): Promise<void>;
}

export interface FleetConfig {
  upstreams: readonly Upstream[];
  timeoutMs: number;
  maxConcurrency: number;
  maxQueue: number;
  queueTimeoutMs: number;
}

const FAILURES_TO_EJECT = 3;
const FIRST_EJECTION_MS = 500;
const LONGEST_EJECTION_MS = 10_000;
const CONNECT_TIMEOUT_MS = 2_000;

interface Member extends Replica {
  inFlight: number;
  failures: number;
  ejectedUntilMs: number;
  /** When it last sent anything. */
  aliveMs: number;
  standing: Standing;
  /** What it was made of, as it stands in the list. */
  upstream: Upstream;
  check: { close(): void } | null;
}

interface Waiter {
  avoid: ReadonlySet<Replica>;
  resolve: (acquired: Acquired) => void;
}

export function createFleet(config: FleetConfig, deps: { monotonicMs: () => number; log: Logger }): Fleet {
  const members: Member[] = [];
  const waiters: Waiter[] = [];
  const isOpen = (member: Member) => isCircuitOpen(member, deps.monotonicMs());
  const pick = createRoundRobin(members, { isOpen, isFree: (member) => member.inFlight < config.maxConcurrency });

  function take(member: Member): Acquired {
    member.inFlight++;
    let isReleased = false;
    return {
      status: "acquired",
      replica: member,
      noteLife: () => void (member.aliveMs = deps.monotonicMs()),
      isSilent: () => deps.monotonicMs() - member.aliveMs > config.timeoutMs / 2,
      release(outcome) {
        if (isReleased) return;
        isReleased = true;
        member.inFlight--;
        settle(member, outcome, deps.monotonicMs());
        wake();
      },
    };
  }

  function tryNow(avoid: ReadonlySet<Replica>): Acquired | null {
    const member = pick(avoid);
    if (member !== null) return take(member);
    if (!members.every(isOpen)) return null;
    const soonestMs = Math.min(...members.map((each) => each.ejectedUntilMs)) - deps.monotonicMs();
    return { status: "unavailable", retryAfterMs: Number.isFinite(soonestMs) ? Math.max(0, soonestMs) : LONGEST_EJECTION_MS };
  }

  function wake(): void {
    for (let waiter = waiters[0]; waiter !== undefined; waiter = waiters[0]) {
      const acquired = tryNow(waiter.avoid);
      if (acquired === null) return;
      waiters.shift();
      waiter.resolve(acquired);
    }
  }

  const update = (upstreams: readonly Upstream[]): void => {
    replaceMembers(members, upstreams, { timeoutMs: config.timeoutMs, wake, log: deps.log });
    wake();
  };
  update(config.upstreams);

  return {
    get size() {
      return members.length;
    },
    update,
    acquire(avoid, { signal }) {
      const acquired = waiters.length === 0 ? tryNow(avoid) : null;
      if (acquired !== null) return Promise.resolve(acquired);
      if (waiters.length >= config.maxQueue) return Promise.resolve({ status: "queue_full" });
      return enqueue(waiters, avoid, AbortSignal.any([signal, AbortSignal.timeout(config.queueTimeoutMs)]));
    },
    async close() {
      for (const { check } of members) check?.close();
      await Promise.all(members.map((member) => member.pool.destroy()));
    },
  };
}

/** Those that stay are the same members; of those that go, calls under way end as they may. */
function replaceMembers(
  members: Member[],
  upstreams: readonly Upstream[],
  { timeoutMs, wake, log }: { timeoutMs: number; wake: () => void; log: Logger },
): void {
  const left = new Map(members.map((member) => [identityOf(member.upstream), member]));
  const next = upstreams.map((upstream) => {
    const identity = identityOf(upstream);
    const member = left.get(identity) ?? createMember(upstream, { timeoutMs, wake, log });
    left.delete(identity);
    member.upstream = upstream;
    return member;
  });
  members.splice(0, members.length, ...next);
  for (const { check, pool } of left.values()) {
    check?.close();
    // Ends when the calls on it have; what hangs there is cut by its time limit.
    pool.close().catch((cause: unknown) => log.warn({ err: cause }, "connections of a replica not closed"));
  }
}

/** After its ejection a replica gets one call as a probe (half-open) until that call's outcome is known. */
function isCircuitOpen(member: Member, nowMs: number): boolean {
  return nowMs < member.ejectedUntilMs || (member.failures >= FAILURES_TO_EJECT && member.inFlight > 0);
}

/**
 * Picks the next free member in turn: of those with the best standing that are not ejected, or of `avoid` where no other is free. Where the best are busy a call
 * waits for them.
 */
function createRoundRobin(
  members: readonly Member[],
  { isOpen, isFree }: { isOpen: (member: Member) => boolean; isFree: (member: Member) => boolean },
) {
  let next = 0;
  const rank = ({ standing, upstream }: Member): number => STANDINGS.indexOf(upstream.isReady === false ? "unfit" : standing);
  return (avoid: ReadonlySet<Replica>): Member | null => {
    const healthy = members.filter((member) => !isOpen(member));
    const others = healthy.filter((member) => !avoid.has(member));
    const best = Math.min(...(others.length > 0 ? others : healthy).map(rank));
    let second: Member | null = null;
    for (let step = 0; step < members.length; step++) {
      const member = members[(next + step) % members.length];
      if (member === undefined || isOpen(member) || !isFree(member) || rank(member) > best) continue;
      if (avoid.has(member)) {
        second ??= member;
        continue;
      }
      next = (next + step + 1) % members.length;
      return member;
    }
    return second;
  };
}

function createMember(upstream: Upstream, { timeoutMs, wake, log }: { timeoutMs: number; wake: () => void; log: Logger }): Member {
  const url = new URL(upstream.url);
  const member: Member = {
    pool: new Pool(url.origin, { connect: { timeout: CONNECT_TIMEOUT_MS }, headersTimeout: timeoutMs, bodyTimeout: timeoutMs }),
    basePath: url.pathname.replace(/\/+$/, "").replace(/\/v1$/, ""),
    apiKey: upstream.apiKey,
    inFlight: 0,
    failures: 0,
    ejectedUntilMs: -Infinity,
    aliveMs: -Infinity,
    standing: "fit",
    upstream,
    check: null,
  };
  const note = (standing: Standing): void => {
    member.standing = standing;
    wake();
  };
  if (upstream.readinessUrl !== undefined) member.check = startReadinessCheck(upstream.readinessUrl, { note, log });
  return member;
}

/** Where one of these differs it is another server, or another is asked about it. */
function identityOf({ url, readinessUrl, apiKey }: Upstream): string {
  return JSON.stringify([url, readinessUrl ?? null, apiKey ?? null]);
}

function settle(member: Member, outcome: "ok" | "failed" | "unknown", nowMs: number): void {
  if (outcome === "ok") member.failures = 0;
  if (outcome !== "failed") return;
  member.failures++;
  if (member.failures < FAILURES_TO_EJECT) return;
  const doubled = FIRST_EJECTION_MS * 2 ** Math.min(10, member.failures - FAILURES_TO_EJECT);
  member.ejectedUntilMs = nowMs + Math.min(LONGEST_EJECTION_MS, doubled);
}

function enqueue(waiters: Waiter[], avoid: ReadonlySet<Replica>, signal: AbortSignal): Promise<Acquired> {
  return new Promise((resolve) => {
    const leave = () => {
      waiters.splice(waiters.indexOf(waiter), 1);
      resolve({ status: "queue_timeout" });
    };
    const waiter: Waiter = {
      avoid,
      resolve(acquired) {
        signal.removeEventListener("abort", leave);
        resolve(acquired);
      },
    };
    waiters.push(waiter);
    signal.addEventListener("abort", leave, { once: true });
  });
}
