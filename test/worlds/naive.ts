import { canonicalJson } from "../../src/trajectory/canonical-arguments.ts";
import { turnsOf } from "../../src/trajectory/record-tape.ts";
import type { Recorded } from "./conversation.ts";
import { judge, worldsAtStart } from "./oracle.ts";
import type { Turns } from "./perturb.ts";
import type { Wrong } from "./tally.ts";
import type { WorldKind } from "./world.ts";

/**
 * Record and replay as it is commonly done: keyed on tool and arguments, the n-th asking gets the n-th answer of the own tape, then the last again, else
 * the newest of any other tape. Returns what it serves wrong, and how many calls it cannot serve.
 */
export function naiveReplay(
  kind: WorldKind,
  recorded: readonly Recorded[],
  one: Recorded,
  turns: Turns,
): { wrong: Wrong[]; missed: number } {
  const own = answersOf(one);
  const others = recorded.filter((other) => other !== one).map(answersOf);
  const asked = new Map<string, number>();
  const wrong: Wrong[] = [];
  let missed = 0;
  let possible = worldsAtStart(one);
  for (const call of turns.flat()) {
    const key = `${call.tool} ${canonicalJson(call.args)}`;
    const count = asked.get(key) ?? 0;
    asked.set(key, count + 1);
    const mine = own.get(key);
    const result =
      mine?.[Math.min(count, mine.length - 1)] ??
      others
        .findLast((tape) => tape.has(key))
        ?.get(key)
        ?.at(-1) ??
      null;
    const rung = result === null ? "R7" : mine === undefined ? "R3" : "R1";
    const judgement = judge(kind, one, possible, call, { rung, result });
    possible = judgement.possible;
    if (result === null) missed += 1;
    else if (!judgement.right) {
      wrong.push({
        conversation: one.trajectory.id,
        seed: 0,
        rung,
        confidence: 1,
        call,
        served: result,
        truth: judgement.truth,
        isFirst: wrong.length === 0,
      });
    }
  }
  return { wrong, missed };
}

function answersOf({ trajectory }: Recorded): ReadonlyMap<string, readonly string[]> {
  const answers = new Map<string, string[]>();
  for (const { part, result } of turnsOf(trajectory.messages).flatMap(({ calls }) => calls)) {
    const key = `${part.name} ${canonicalJson(part.arguments)}`;
    if (result !== null) answers.set(key, [...(answers.get(key) ?? []), result]);
  }
  return answers;
}
