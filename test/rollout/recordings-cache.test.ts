import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { agentSchema } from "../../src/config-agent.ts";
import { createRecordingsCache } from "../../src/rollout/recordings-cache.ts";
import type { Database } from "../../src/store/database.ts";
import { recordFeedback } from "../../src/trajectory/feedback.ts";
import { saveTrajectories } from "../../src/trajectory/save-trajectories.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { conversation, lookup } from "./build.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());
afterEach(() => vi.useRealTimers());

const NOW = 1e9;
const config = agentSchema.parse({ model: "m", baseModel: "b", tenant: "acme" });
const save = (...trajectories: readonly Trajectory[]): Promise<unknown> =>
  database.transaction((trx) =>
    saveTrajectories(
      trx,
      trajectories.map((one) => one.conversationId),
      trajectories,
    ),
  );
const talk = (id: string, overrides: Partial<Trajectory> = {}): Trajectory => conversation(id, [lookup(`order of ${id}`)], { overrides });
const CHECK = { maxAgeMs: 60_000 };

function cacheAt(clock: { nowMs: number } = { nowMs: NOW }) {
  return createRecordingsCache(database, { agent: "shop", config }, { now: () => clock.nowMs });
}

describe("recordings that are looked at again", () => {
  it("are the same as long as the store is, and shared by those who ask at once", async () => {
    await save(talk("same"));
    const cache = cacheAt();
    const [first, second] = await Promise.all([cache.recordings(CHECK), cache.recordings(CHECK)]);
    expect(second).toBe(first);
    expect(await cache.recordings(CHECK)).toBe(first);
    expect(first?.trajectories.map(({ id }) => id)).toContain("same");
    expect(first?.cascade("train")).toBe((await cache.recordings(CHECK)).cascade("train"));
  });

  it("are loaded once by whoever asks while they are, however long that takes", async () => {
    const cache = cacheAt();
    const first = cache.recordings(CHECK);
    // Longer than what it may be old: the first has begun by then, and is not done.
    const second = cache.recordings({ maxAgeMs: -1 });
    expect(await second).toBe(await first);
    expect(await cache.recordings({ maxAgeMs: -1 })).not.toBe(await first);
  });

  it.each<[string, () => Promise<unknown>]>([
    ["a conversation more", () => save(talk("more"))],
    ["another version of one", () => save({ ...talk("more"), messages: talk("other").messages })],
    ["the same with another verdict", () => save({ ...talk("same"), verdict: { trainable: false, reasons: ["empty_answer"] as never } })],
    ["another agent's conversation, whose writes count", () => save(talk("another", { agent: "desk" }))],
    [
      "feedback",
      () => {
        const of = { tenant: "acme", targetKind: "conversation", target: "more", name: "thumbs", source: "test" } as const;
        return database.transaction((trx) => recordFeedback(trx, [{ ...of, value: false, atMs: NOW }]));
      },
    ],
    [
      "a candidate that was rolled back",
      () => {
        const of = { id: "e", tenant: "acme", agent: "shop", candidate_digest: "", stable_digest: "", generation: 1 };
        const row = { ...of, state: "rolled_back", body: "{}", created_at_ms: NOW, ended_at_ms: NOW };
        return database.kysely.insertInto("experiments").values(row).execute();
      },
    ],
    ["a conversation less", () => database.kysely.deleteFrom("trajectories").where("id", "=", "more").execute()],
  ])("are loaded anew after %s", async (_, change) => {
    const cache = cacheAt();
    const before = await cache.recordings(CHECK);
    await change();
    const after = await cache.recordings(CHECK);
    expect(after).not.toBe(before);
    expect(await cache.recordings(CHECK)).toBe(after);
  });

  it("show nothing of what was deleted in between", async () => {
    await save(talk("gone"));
    const cache = cacheAt();
    expect(JSON.stringify((await cache.recordings(CHECK)).selection.tapes)).toContain("order of gone");
    await database.kysely.deleteFrom("trajectories").where("id", "=", "gone").execute();
    const after = await cache.recordings(CHECK);
    expect(JSON.stringify([after.trajectories, after.others, after.selection.tapes])).not.toContain("order of gone");
  });

  it("do not care for other tenants", async () => {
    const cache = cacheAt();
    const before = await cache.recordings(CHECK);
    await save(talk("elsewhere", { tenant: "other" }));
    expect(await cache.recordings(CHECK)).toBe(before);
  });

  it("are as old as whoever asks allows", async () => {
    const clock = { nowMs: NOW };
    const cache = cacheAt(clock);
    const before = await cache.recordings(CHECK);
    clock.nowMs += 60_000;
    expect(await cache.recordings(CHECK)).toBe(before);
    clock.nowMs += 1;
    expect(await cache.recordings({ maxAgeMs: 300_000 })).toBe(before);
    const after = await cache.recordings(CHECK);
    expect(after).not.toBe(before);
    expect(after.selection.nowMs).toBe(NOW + 60_001);
  });

  it("are forgotten five minutes after somebody looked last", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const cache = cacheAt();
    const before = await cache.recordings({ maxAgeMs: Number.MAX_SAFE_INTEGER });
    vi.advanceTimersByTime(299_000);
    expect(await cache.recordings({ maxAgeMs: Number.MAX_SAFE_INTEGER })).toBe(before);
    vi.advanceTimersByTime(301_000);
    expect(await cache.recordings({ maxAgeMs: Number.MAX_SAFE_INTEGER })).not.toBe(before);
  });
});
