import { describe, expect, test } from "vitest";
import type { PairJudge } from "../../src/reward/pair-judge.ts";
import type { Rollout } from "../../src/rollout/group.ts";
import { messagesOf, rollout } from "../reward/groups.ts";

const attempt = (...said: string[]): Rollout =>
  rollout(
    messagesOf(
      said.map((say) => ({ say })),
      "Do it.",
    ),
  );

/** What every PairJudge must do. `open` gives a judge that finds an attempt which says "done" better than one that does not. */
export function describePairJudge(name: string, open: () => Promise<PairJudge>): void {
  describe(`PairJudge: ${name}`, () => {
    const compare = async (candidate: Rollout, stable: Rollout) => {
      const judge = await open();
      const result = await judge.compare({ scenarioId: "scenario", candidate, stable });
      if (result.status !== "compared") throw new Error(result.status);
      return result;
    };

    test("X is seen from the candidate, whichever slot it was in", async () => {
      expect(await compare(attempt("done"), attempt("no"))).toMatchObject({ x: 1, ordersAgree: true, firstSlotWins: 1 });
      expect(await compare(attempt("no"), attempt("done"))).toMatchObject({ x: 0, ordersAgree: true, firstSlotWins: 1 });
    });

    test("equally good is ½", async () => {
      expect(await compare(attempt("no"), attempt("never"))).toMatchObject({ x: 0.5, ordersAgree: true });
      expect(await compare(attempt("done"), attempt("done"))).toMatchObject({ x: 0.5, ordersAgree: true, firstSlotWins: 0 });
    });

    test("rejects when it is aborted", async () => {
      const judge = await open();
      const pair = { scenarioId: "aborted", candidate: attempt("done"), stable: attempt("no") };
      await expect(judge.compare(pair, { signal: AbortSignal.abort(new Error("stop")) })).rejects.toThrow("stop");
    });
  });
}
