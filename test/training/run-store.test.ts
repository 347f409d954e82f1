import { afterAll, describe, expect, test } from "vitest";
import { createRunStore } from "../../src/training/run-store.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const database = await memoryDatabase();
afterAll(() => database.close());

const runs = createRunStore(database, () => 5_000);
const create = (id: string, agent: string) => runs.create({ id, tenant: "default", agent, plan: { seed: 1 }, nowMs: 1_000 });

describe("a run", () => {
  test("is the only running one of its agent", async () => {
    await create("first", "a");
    await expect(create("second", "a")).rejects.toMatchObject({
      code: "run_in_progress",
      message: expect.stringContaining("first") as unknown,
    });
    await create("other-agent", "b");
    await runs.finish("first", "finished", { kind: "nothing_to_learn", reason: "no signal" }, 2_000);
    await create("second", "a");
    const states = new Map((await runs.list({ agent: "a", limit: 10 })).map(({ id, state }) => [id, state]));
    expect(Object.fromEntries(states)).toEqual({ first: "finished", second: "running" });
  });

  test("ends once: a later word changes nothing", async () => {
    await create("once", "c");
    await runs.finish("once", "finished", { kind: "candidate", adapterDigest: "sha256:1", adapterName: "c-1-1" }, 2_000);
    await runs.finish("once", "failed", { kind: "failed", code: "x", message: "late", fix: "" }, 3_000);
    expect(await runs.get("once")).toMatchObject({ state: "finished", finishedAtMs: 2_000, outcome: { kind: "candidate" } });
  });
});

describe("a step", () => {
  test("is done once, and its output survives", async () => {
    await create("steps", "d");
    let calls = 0;
    const work = () => Promise.resolve({ calls: ++calls });
    expect(await runs.step("steps", "select", work)).toEqual({ calls: 1 });
    expect(await runs.step("steps", "select", work)).toEqual({ calls: 1 });
    expect(await runs.steps("steps")).toMatchObject([{ step: "select", finishedAtMs: 5_000, output: { calls: 1 } }]);
  });

  test("that failed is done again", async () => {
    await create("again", "e");
    await expect(runs.step("again", "train", () => Promise.reject(new Error("killed")))).rejects.toThrow("killed");
    expect(await runs.steps("again")).toMatchObject([{ step: "train", finishedAtMs: null, output: null }]);
    expect(await runs.step("again", "train", () => Promise.resolve({ ok: true }))).toEqual({ ok: true });
  });
});
