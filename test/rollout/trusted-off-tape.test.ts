import { describe, expect, it } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createCascade } from "../../src/rollout/cascade/cascade.ts";
import { emptyOverlay } from "../../src/rollout/cascade/overlay.ts";
import { measuredTrust, type RungRecord } from "../../src/rollout/cascade/trust.ts";
import type { LiveReads } from "../../src/rollout/live-reads.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { createOffTape } from "../../src/rollout/off-tape.ts";
import { createSimulator } from "../../src/rollout/simulator/simulator.ts";
import { startOfTrajectory } from "../../src/rollout/start.ts";
import { tapeIdOf } from "../../src/trajectory/record-tape.ts";
import { cascadeFor, conversation, lookup, policyOf, refund, refundFails, type Step } from "./build.ts";
import { planOf } from "./plan.ts";
import { createScriptedLlm, render } from "./scripted-llm.ts";
import { createScriptedPolicy } from "./scripted-policy.ts";

const mine = conversation("mine", [policyOf("lamp")], { says: "where is my order A1, refund A1" });
// Of sixty refunds one failed, for no reason known: what is made up is R5. Answers that do not agree: it is not R4 in its words either.
const tapes = [
  ...Array.from({ length: 59 }, (_, index) => {
    const paid = { order_id: `B${index}`, refunded: true, by: index % 2 === 0 ? "card" : "cash" };
    return conversation(`B${index}`, [lookup(`B${index}`), { ...refund(`B${index}`), result: paid }], { startMs: -1e6 - index });
  }),
  conversation("D", [lookup("D"), refundFails("D")], { startMs: -3e6 }),
];
const record = (change: Partial<RungRecord>): RungRecord => ({ rung: "R5", served: 80, wrong: 40, refused: false, ...change });

/** One rollout that makes one call, with what is trusted of its tool; the simulator and the live endpoint count what they are asked. */
async function playing(call: Pick<Step, "tool" | "args">, records: readonly RungRecord[], beyond: { simulator?: true; live?: true }) {
  const { pool } = cascadeFor([mine, ...tapes]);
  const trust = measuredTrust([{ tool: call.tool, rungs: records }]);
  const cascade = createCascade(pool, [mine, ...tapes].map(tapeIdOf), { trust });
  const llm = createScriptedLlm(render);
  let reads = 0;
  const live: LiveReads = {
    read() {
      reads += 1;
      return Promise.resolve({ status: "answered", result: JSON.stringify(lookup("A1").result), isError: false, readAtMs: 1 });
    },
  };
  const offTape = createOffTape("shop", {
    simulator: beyond.simulator === true ? createSimulator({ llm, model: "words" }, { log: silentLog() }) : null,
    liveReads: beyond.live === true ? live : null,
    user: null,
  });
  const policyServer = createScriptedPolicy(({ messages }) => (messages.length < 3 ? { calls: [call] } : { reply: "done" }));
  const limits = { maxCalls: 16, maxSimulatedShare: 1, maxAttempts: 1 };
  const group = await rolloutGroup(planOf(mine, policyServer, { cascade, offTape, limits, groupSize: 1 }));
  const [member] = group.members;
  return { entry: member?.journal[0], end: member?.end, asked: llm.questions.length, reads };
}

const missed = { status: "masked", cause: "replay_miss" };

describe("a simulated answer", () => {
  it("counts as far as its tool was measured", async () => {
    const { entry } = await playing(refund("A1"), [record({})], { simulator: true });
    // 1 − (20 · 0.4 + 40) / (20 + 80)
    expect(entry).toMatchObject({ rung: "R5", simulator: { model: "words" }, confidence: expect.closeTo(0.52, 12) as number });
  });

  it("counts, for a read, no more than the tapes that it is worded from", async () => {
    const { entry } = await playing(lookup("A1"), [record({ rung: "R3", served: 80, wrong: 60 })], { simulator: true });
    // 1 − (20 · 0 + 60) / (20 + 80)
    expect(entry).toMatchObject({ rung: "R5", confidence: expect.closeTo(0.4, 12) as number });
    expect((await playing(lookup("A1"), [record({ rung: "R3", wrong: 0 })], { simulator: true })).entry?.confidence).toBe(0.6);
  });

  it.each([
    ["a write that was measured to be wrong there", refund("A1"), record({ refused: true })],
    ["a read that was measured to be wrong there", lookup("A1"), record({ refused: true })],
    ["a read whose other tapes are wrong too often", lookup("A1"), record({ rung: "R3", refused: true })],
  ])("is asked for by nobody for %s: the call is a miss", async (_, call, refused) => {
    const { end, asked } = await playing(call, [refused], { simulator: true });
    expect(end).toEqual(missed);
    expect(asked).toBe(0);
  });

  it("is still asked for where only a write's certain answers (R4) are refused", async () => {
    const { entry } = await playing(refund("A1"), [record({ rung: "R4", refused: true })], { simulator: true });
    expect(entry).toMatchObject({ rung: "R5", simulator: { model: "words" } });
  });
});

describe("a write about what only the simulator told", () => {
  // Refused where the order was refunded: that tells all ten apart.
  const told = [
    ...Array.from({ length: 6 }, (_, index) => [lookup(`B${index}`), refund(`B${index}`)]),
    ...Array.from({ length: 4 }, (_, index) => [lookup(`C${index}`, "delivered", true), refundFails(`C${index}`)]),
  ].map((turns, index) => conversation(`told${index}`, turns, { startMs: -1e6 - index }));
  const outcomeWith = (records: readonly RungRecord[]) => {
    const { pool } = cascadeFor([mine, ...told]);
    const trust = measuredTrust([{ tool: "issue_refund", rungs: records }]);
    const cascade = createCascade(pool, [mine, ...told].map(tapeIdOf), { trust });
    const start = startOfTrajectory(mine);
    const look = cascade.prepare(start, "lookup_order", lookup("A1").args);
    const shown = { rung: "R5" as const, result: JSON.stringify(lookup("A1").result), isError: false, epochs: null };
    const overlay = cascade.advance(emptyOverlay(), look, shown);
    return cascade.outcome({ pool, start, overlay }, cascade.prepare(start, "issue_refund", refund("A1").args), { seed: [1] });
  };

  it("comes to what the tapes' rules say, and to nothing where these were measured to be wrong (R4)", () => {
    expect(outcomeWith([])).toMatchObject({ isError: false });
    expect(outcomeWith([record({ rung: "R4", refused: true })])).toBeNull();
  });
});

describe("an answer that code makes up at R5", () => {
  it("is served as long as it is trusted, and is a miss where it is not", async () => {
    expect((await playing(refund("A1"), [], {})).entry).toMatchObject({ rung: "R5", confidence: 0.6 });
    expect((await playing(refund("A1"), [record({ refused: true })], {})).end).toEqual(missed);
  });
});

describe("a live answer", () => {
  it("counts as far as its tool was measured, and stands where the tapes are refused", async () => {
    const { entry, reads } = await playing(
      lookup("A1"),
      [record({ rung: "R6", served: 80, wrong: 20 }), record({ rung: "R3", refused: true })],
      { live: true },
    );
    // 1 − (20 · 0.2 + 20) / (20 + 80)
    expect(entry).toMatchObject({ rung: "R6", confidence: expect.closeTo(0.76, 12) as number });
    expect(reads).toBe(1);
  });

  it("is not read for a tool that was measured to be wrong there", async () => {
    const { end, reads } = await playing(lookup("A1"), [record({ rung: "R6", refused: true })], { live: true });
    expect(end).toEqual(missed);
    expect(reads).toBe(0);
  });
});
