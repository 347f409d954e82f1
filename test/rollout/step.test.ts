import { describe, expect, test } from "vitest";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { sourcesOfGroup } from "../../src/rollout/sources.ts";
import { pivotsOf } from "../../src/scenario/pivots.ts";
import type { Scenario } from "../../src/scenario/scenario.ts";
import { encodeGroups } from "../../src/training/batch.ts";
import { groupLine } from "../../src/training/group-lines.ts";
import { conversation, lookup, refund } from "./build.ts";
import { planOf, scenarioOf } from "./plan.ts";
import { createScriptedPolicy, gone, type Move } from "./scripted-policy.ts";

const talk = conversation("talk", [lookup("A1"), refund("A1")]);
const pivots = pivotsOf({
  scenario: { ...scenarioOf(talk), mode: "step" },
  messages: talk.messages,
  entries: [],
  history: new Map(),
  count: 9,
  seed: 1,
});
const pivot = pivots[1] as Scenario;
const next = (moves: readonly Move[]) => createScriptedPolicy((_, random) => random.pick(moves));

describe("a step group", () => {
  const moves: Move[] = [{ calls: [refund("A1")] }, { reply: "I cannot do that." }, { calls: [lookup("A9"), refund("A9")] }];

  test("samples the next action after the recorded messages, and answers no tool", async () => {
    const policy = next(moves);
    const group = await rolloutGroup(planOf(talk, policy, { scenario: pivot, groupSize: 8 }));
    for (const { messages, calls, journal, end } of group.members) {
      expect([messages.length, messages.at(-1)?.role, calls.length, journal, end]).toEqual([
        5,
        "assistant",
        1,
        [],
        { status: "completed" },
      ]);
    }
    expect(policy.requests.map(({ messages }) => messages.map(({ role }) => role))).toEqual(
      Array.from({ length: 8 }, () => ["system", "user", "assistant", "tool"]),
    );
    expect(new Set(group.members.map(({ messages }) => JSON.stringify(messages.at(-1)))).size).toBe(3);
    expect(group.fidelity).toMatchObject({ decision: "train", coverage: 1, weight: 1, simulatedShare: 0 });
    expect(group.played).toEqual({ mode: "step" });
  });

  test("gives the same bytes for the same seed, and a batch as any group does", async () => {
    const [one, again] = await Promise.all([1, 2].map(() => rolloutGroup(planOf(talk, next(moves), { scenario: pivot, groupSize: 4 }))));
    expect(encodeGroup(one!)).toEqual(encodeGroup(again!));
    expect(encodeGroups([groupLine(one!, [0, 1, 0, 1])]).byteLength).toBeGreaterThan(0);
  });

  test("is masked where the policy server gives no answer", async () => {
    const { members } = await rolloutGroup(planOf(talk, next([{ result: gone }]), { scenario: pivot, groupSize: 1 }));
    expect(members.map(({ end, calls }) => [end, calls])).toEqual([[{ status: "masked", cause: "infrastructure" }, []]]);
  });

  test("holds the text of its conversation: erasing that finds it", async () => {
    const group = await rolloutGroup(planOf(talk, next(moves), { scenario: pivot }));
    expect(sourcesOfGroup(group)).toEqual([scenarioOf(talk).id]);
  });
});
