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

    test("says how often it asked, what it cost, and how far its passes were apart where there were more", async () => {
      const judge = await open();
      for (const made of [refundGroup(), statusGroup()]) {
        const result = await judge.score(made);
        if (result.status !== "scored") throw new Error(result.status);
        const { passes, elided, cached } = result.provenance;
        expect([passes >= 1, typeof elided, typeof cached]).toEqual([true, "boolean", "boolean"]);
        expect(result.spreads).toHaveLength(made.members.length);
        for (const [index, spread] of result.spreads.entries()) {
          expect(spread === null).toBe(passes === 1 || result.rewards[index] === null);
        }
      }
    });

    test("an anchor has a score of its own, and changes neither the number nor the places of the members'", async () => {
      const judge = await open();
      const made = { ...refundGroup(), groupId: "anchored" };
      const [best] = made.members;
      if (best === undefined) throw new Error("a first member");
      const other = await judge.score(made, { anchor: rollout(messagesOf([{ say: "No idea." }], "I want my money back.")) });
      if (other.status !== "scored") throw new Error(other.status);
      expect(other.rewards).toHaveLength(5);
      expect(other.rewards[4]).toBeNull();
      expect(other.anchor?.reward).toBeGreaterThanOrEqual(0);
      const same = await judge.score(made, { anchor: best });
      if (same.status !== "scored") throw new Error(same.status);
      expect(same.anchor?.reward).toBe(same.rewards[0]);
      expect(await judge.score(made)).toMatchObject({ anchor: null });
      const alone = group("alone", [best]);
      expect(await judge.score(alone, { anchor: rollout(messagesOf([], "Hi")) })).toMatchObject({ status: "no_signal" });
    });

    test("rejects when it is aborted", async () => {
      const judge = await open();
      const signal = AbortSignal.abort(new Error("stop"));
      await expect(judge.score({ ...refundGroup(), groupId: "aborted" }, { signal })).rejects.toThrow("stop");
    });
  });
}
