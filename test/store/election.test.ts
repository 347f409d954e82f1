import { afterAll, beforeAll, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { acquireAlone, createElection, type AcquireLock, type Term } from "../../src/store/election.ts";
import { beatTerm, readLeader, takeTerm } from "../../src/store/leader-record.ts";
import { memoryDatabase } from "./memory-database.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

/** A lock that the test hands out, and takes away. */
function lockByHand() {
  let released = 0;
  const acquire: AcquireLock = (signal) =>
    new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error));
      grant = () => {
        const lost = new AbortController();
        lose = (why) => lost.abort(new Error(why));
        resolve({ signal: lost.signal, release: () => Promise.resolve(void (released += 1)) });
      };
      onAsked();
    });
  let grant = (): void => undefined;
  let lose = (_why: string): void => undefined;
  let onAsked = (): void => undefined;
  return {
    acquire,
    asked: () => new Promise<void>((resolve) => (onAsked = resolve)),
    grant: () => grant(),
    lose: (why: string) => lose(why),
    released: () => released,
  };
}

/** Leads until the term ends, and tells the test of both. */
function leading() {
  const begun: ((term: Term) => void)[] = [];
  let ended = 0;
  return {
    ended: () => ended,
    next: () => new Promise<Term>((resolve) => begun.push(resolve)),
    async lead(term: Term): Promise<void> {
      begun.shift()?.(term);
      if (!term.signal.aborted) await new Promise((resolve) => term.signal.addEventListener("abort", resolve));
      ended += 1;
    },
  };
}

const deps = () => ({ database, log: silentLog(), now: () => 1_000 });

test("who has the database to himself leads at once, under a new epoch every time", async () => {
  const epochs: number[] = [];
  for (const name of ["a", "b"]) {
    const work = leading();
    const election = createElection({ name }, { ...deps(), acquire: acquireAlone });
    const term = work.next();
    election.campaign((term) => work.lead(term));
    epochs.push((await term).epoch);
    expect(election.isLeader()).toBe(true);
    expect(await readLeader(database.kysely)).toMatchObject({ name, epoch: (await term).epoch, sinceMs: 1_000, beat: 0, turns: {} });
    await election.close();
    expect([election.isLeader(), work.ended()]).toEqual([false, 1]);
  }
  expect(epochs[1]).toBe((epochs[0] ?? 0) + 1);
});

test("a lost lock ends the term at once and frees the lock; the next term comes when the work of the last has ended", async () => {
  const lock = lockByHand();
  const work = leading();
  const election = createElection({ name: "c" }, { ...deps(), acquire: lock.acquire });
  const asked = lock.asked();
  const first = work.next();
  election.campaign((term) => work.lead(term));
  await asked;
  expect(election.isLeader()).toBe(false);
  lock.grant();
  const term = await first;
  const askedAgain = lock.asked();
  lock.lose("the connection ended");
  expect(term.signal.aborted).toBe(true);
  expect(election.isLeader()).toBe(false);
  await askedAgain;
  expect(lock.released()).toBeGreaterThan(0);
  expect(work.ended()).toBe(1);
  const second = work.next();
  lock.grant();
  expect((await second).epoch).toBe(term.epoch + 1);
  (await second).resign("enough");
  expect((await second).signal.aborted).toBe(true);
  await election.close();
});

test("close while waiting for the lock resolves", async () => {
  const lock = lockByHand();
  const election = createElection({ name: "d" }, { ...deps(), acquire: lock.acquire });
  const asked = lock.asked();
  election.campaign(() => Promise.resolve());
  await asked;
  await election.close();
});

test("a beat of an older term changes nothing and says so", async () => {
  const old = await takeTerm(database.kysely, { name: "old", nowMs: 1 });
  expect(await beatTerm(database.kysely, old, { shop: 1 })).toBe(true);
  expect(await beatTerm(database.kysely, old, { shop: 2 })).toBe(true);
  expect(await readLeader(database.kysely)).toMatchObject({ epoch: old, name: "old", beat: 2, turns: { shop: 2 } });
  const next = await takeTerm(database.kysely, { name: "new", nowMs: 2 });
  expect(await beatTerm(database.kysely, old, { shop: 3 })).toBe(false);
  expect(await readLeader(database.kysely)).toEqual({ epoch: next, name: "new", sinceMs: 2, beat: 0, turns: {} });
});
