import { describe, expect, test } from "vitest";
import type { Judge } from "../../src/reward/judge.ts";
import { group, messagesOf, refundGroup, rollout, statusGroup } from "../reward/groups.ts";

/** What every Judge must do. `open` gives a judge that is up and can tell the attempts of these groups apart. */
export function describeJudge(name: string, open: () => Promise<Judge>): void {
  describe(`Judge: ${name}`, () => {
    test("one reward in [0, 1] per member, in their order; null for a masked one, and no word about it", async () => {
      const judge = await open();
      const result = await judge.score(refundGroup());
      if (result.status !== "scored") throw new Error(result.status);
      expect(result.rewards).toHaveLength(5);
      expect(result.explanations).toHaveLength(5);
      expect([result.rewards[4], result.explanations[4]]).toEqual([null, null]);
      for (const reward of result.rewards.slice(0, 4)) {
        expect(reward).toBeGreaterThanOrEqual(0);
        expect(reward).toBeLessThanOrEqual(1);
      }
    });

    test("says who scored, by which rubric, from which prompt", async () => {
      const judge = await open();
      const result = await judge.score(refundGroup());
      if (result.status !== "scored") throw new Error(result.status);
      const { driver, model, rubricVersion, promptHash } = result.provenance;
      expect([driver, model, rubricVersion].every((text) => text.length > 0)).toBe(true);
      expect(promptHash).toMatch(/^[0-9a-f]{64}$/);
    });

    test("twice the same group, twice the same rewards", async () => {
      const judge = await open();
      const [first, second] = [await judge.score(statusGroup()), await judge.score(statusGroup())];
      if (first.status !== "scored" || second.status !== "scored") throw new Error(first.status);
      expect(second.rewards).toEqual(first.rewards);
    });

    test("identical members share one score", async () => {
      const judge = await open();
      const result = await judge.score(statusGroup());
      if (result.status !== "scored") throw new Error(result.status);
      expect(result.rewards[3]).toBe(result.rewards[0]);
    });

    test("nothing to compare is no signal", async () => {
      const judge = await open();
      const one = () => rollout(messagesOf([{ say: "Hello." }], "Hi"));
      const masked = rollout(messagesOf([{ say: "Bye." }], "Hi"), { end: { status: "masked", cause: "infrastructure" } });
      expect(await judge.score(group("g", [one(), masked]))).toEqual({ status: "no_signal", reason: "too_few_members" });
      expect(await judge.score(group("g", [one(), one(), masked]))).toEqual({ status: "no_signal", reason: "identical_members" });
    });

    test("rejects when it is aborted", async () => {
      const judge = await open();
      const signal = AbortSignal.abort(new Error("stop"));
      await expect(judge.score({ ...refundGroup(), groupId: "aborted" }, { signal })).rejects.toThrow("stop");
    });
  });
}
