import { afterAll, expect, test } from "vitest";
import { beginOnce } from "../../src/training/begin-once.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const database = await memoryDatabase();
afterAll(() => database.close());

const runs = createRunStore(database, () => 5_000);
const ended = (id: string) => runs.finish(id, "failed", { kind: "failed", code: "x", message: "m", fix: "f" }, 2_000);

/** Asks as the night desk does, and counts how often a run was about to begin. */
function asker(agent: string, tenant = "default") {
  let begun = 0;
  const begin = async (id: string): Promise<void> => {
    begun += 1;
    await runs.create({ id, tenant, agent, plan: {}, nowMs: 1_000 });
  };
  return { ask: (key: string | null) => beginOnce({ tenant, agent, key }, begin, { runs }), begun: () => begun };
}

test("a key begins one run, while it runs and after it has ended", async () => {
  const { ask, begun } = asker("a");
  const { runId, isNew } = await ask("job-1");
  expect(isNew).toBe(true);
  expect(await ask("job-1")).toEqual({ runId, isNew: false });
  await ended(runId);
  expect(await ask("job-1")).toEqual({ runId, isNew: false });
  expect(begun()).toBe(1);
  expect((await ask("job-2")).isNew).toBe(true);
});

test("the run of a key is called after it: two that ask at once are one run, or one run and a refusal that names it", async () => {
  const { ask } = asker("b");
  const answers = await Promise.allSettled([ask("job"), ask("job"), ask("job")]);
  const { runId } = await ask("job");
  expect(runId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  for (const answer of answers) {
    if (answer.status === "fulfilled") expect(answer.value.runId).toBe(runId);
    else expect(answer.reason).toMatchObject({ code: "run_in_progress", message: expect.stringContaining(runId) as unknown });
  }
  expect((await runs.list({ agent: "b", limit: 10 })).map(({ id }) => id)).toEqual([runId]);
});

test("keys of two agents, or tenants, are two keys; without a key every run is another", async () => {
  const asked = [await asker("c").ask("job"), await asker("d").ask("job"), await asker("c", "other").ask("job")];
  expect(new Set(asked.map(({ runId }) => runId)).size).toBe(3);
  const { ask } = asker("e");
  const first = await ask(null);
  await ended(first.runId);
  expect((await ask(null)).runId).not.toBe(first.runId);
});

test("beside a run in progress none is begun, nor is it asked whether one might", async () => {
  const { ask, begun } = asker("f");
  const { runId } = await ask("job-1");
  await expect(ask("job-2")).rejects.toMatchObject({ code: "run_in_progress", message: expect.stringContaining(runId) as unknown });
  await expect(ask(null)).rejects.toMatchObject({ code: "run_in_progress" });
  expect(begun()).toBe(1);
});
