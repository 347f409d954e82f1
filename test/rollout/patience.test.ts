import { describe, expect, it } from "vitest";
import { silentLog } from "../../src/log.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { rolloutPatiently } from "../../src/rollout/patience.ts";
import { conversation, lookup } from "./build.ts";
import { planOf } from "./plan.ts";
import { createScriptedPolicy, gone, type Move } from "./scripted-policy.ts";

const recorded = conversation("mine", [lookup("A1")], { says: "refund A1 please" });
const answer: Move = { reply: "here" };

/** A server that has lost the adapter for its first `calls` calls. */
function restarting(calls: number): ReturnType<typeof createScriptedPolicy> {
  let seen = 0;
  return createScriptedPolicy(() => ((seen += 1) <= calls ? { result: gone } : answer));
}

async function play(policy: ReturnType<typeof createScriptedPolicy>) {
  const waits: number[] = [];
  const wait = async (ms: number): Promise<void> => void waits.push(ms);
  const group = await rolloutPatiently(planOf(recorded, policy), { log: silentLog(), wait });
  return { group, waits };
}

describe("rolloutPatiently", () => {
  it("plays once where nothing is wrong, and again after an outage, with the same bytes", async () => {
    const calm = await rolloutGroup(planOf(recorded, restarting(0)));
    const { group, waits } = await play(restarting(0));
    expect(waits).toEqual([]);
    // Three members: the second rollout of the group is the first without a failure.
    const after = await play(restarting(3));
    expect(after.waits).toEqual([2_000]);
    for (const one of [group, after.group]) expect(encodeGroup(one)).toEqual(encodeGroup(calm));
  });

  it("gives a server that stays away up in the end", async () => {
    const { group, waits } = await play(restarting(Number.MAX_SAFE_INTEGER));
    expect(waits).toEqual([2_000, 4_000, 8_000, 16_000]);
    expect(group.members.map(({ end }) => end)).toEqual(Array(3).fill({ status: "masked", cause: "infrastructure" }));
  });
});
