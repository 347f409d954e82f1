import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { createTapePool } from "../../src/rollout/cascade/tape-pool.ts";
import { withEras } from "../../src/trajectory/era.ts";
import { tapeOf } from "../../src/trajectory/record-tape.ts";
import { cascadeFor, conversation, lookup, notFound, play, policyOf, refund, refundFails, shopConfigs, type Step } from "./build.ts";

const DAY = 86_400_000;
const shown = (answers: readonly { rung: string; result: string | null }[]): readonly (string | null)[][] =>
  answers.map(({ rung, result }) => [rung, result]);
const body = (step: Step): string => JSON.stringify(step.result);

describe("own tape", () => {
  const tape = conversation("t1", [lookup("A1"), refund("A1"), lookup("A1", "delivered", true), lookup("B2")]);
  const cascade = cascadeFor([tape]);

  it("R1 answers the recorded state before and after the write", () => {
    const answers = play(cascade, tape, [lookup("A1"), refund("A1"), lookup("A1")]);
    expect(shown(answers)).toEqual([
      ["R1", body(lookup("A1"))],
      ["R1", body(refund("A1"))],
      ["R1", body(lookup("A1", "delivered", true))],
    ]);
  });

  it("R2 answers about an entity that no write touched, where tapes show that such a write does not matter to it", () => {
    // On the tape, B2 was looked up after A1's refund; here before it.
    expect(play(cascade, tape, [lookup("B2")])[0]?.rung).toBe("R7");
    const apart = conversation("t9", [lookup("C1"), refund("C2"), lookup("C1")], { startMs: 9 * DAY });
    expect(shown(play(cascadeFor([tape, apart]), tape, [lookup("B2")]))).toEqual([["R2", body(lookup("B2"))]]);
    const coupled = conversation("t8", [lookup("D1"), refund("D2"), lookup("D1", "delayed")], { startMs: 8 * DAY });
    expect(play(cascadeFor([tape, apart, coupled]), tape, [lookup("B2")])[0]?.rung).toBe("R7");
  });

  it("R2 answers a write among others than its own where the world never refused one", () => {
    const two = conversation("two", [refund("A1"), refund("B2")]);
    const more = ["C1", "C2"].map((id, day) => conversation(id, [refund(id)], { startMs: (day + 1) * DAY }));
    expect(shown(play(cascadeFor([two, ...more]), two, [refund("B2")]))).toEqual([["R2", body(refund("B2"))]]);
    const refused = conversation("refused", [lookup("D1"), refundFails("D1")], { startMs: 7 * DAY });
    expect(play(cascadeFor([two, ...more, refused]), two, [refund("B2")])[0]?.rung).not.toBe("R2");
  });

  it("gives the n-th repetition the n-th answer, then the last again", () => {
    const twice = conversation("t2", [lookup("A1", "processing"), lookup("A1", "shipped")]);
    const answers = play(cascadeFor([twice]), twice, [lookup("A1"), lookup("A1"), lookup("A1")]);
    expect(answers.map(({ result }) => result)).toEqual([
      body(lookup("A1", "processing")),
      body(lookup("A1", "shipped")),
      body(lookup("A1", "shipped")),
    ]);
  });

  it("takes arguments that mean the same for the same call", () => {
    const answers = play(cascade, tape, [{ tool: "lookup_order", args: '{ "order_id": " A1 " }' }]);
    expect(shown(answers)).toEqual([["R1", body(lookup("A1"))]]);
  });

  it("serves raced calls only to the same block", () => {
    const raced = conversation("t3", [[lookup("A1"), refund("A1")]]);
    const pool = cascadeFor([raced]);
    expect(shown(play(pool, raced, [[lookup("A1"), refund("A1")]]))).toEqual([
      ["R1", body(lookup("A1"))],
      ["R1", body(refund("A1"))],
    ]);
    expect(play(pool, raced, [lookup("A1")]).map(({ rung }) => rung)).toEqual(["R7"]);
  });

  it("does not let time run backwards after a change by others", () => {
    // Somebody else refunded A1 between the two recorded calls; once the rollout has seen that, it must not see the order from before.
    const mine = conversation("mine", [lookup("A1"), refundFails("A1")]);
    const other = conversation("other", [refund("A1")], { startMs: 500 });
    const answers = play(cascadeFor([mine, other]), mine, [refund("A1"), lookup("A1")]);
    expect(answers[0]).toMatchObject({ rung: "R1", isError: true });
    expect(answers[1]?.rung).toBe("R7");
  });
});

describe("other tapes", () => {
  const skipped = (id: string, startMs: number): ReturnType<typeof conversation> =>
    conversation(id, [policyOf("lamp")], { startMs, says: "order A1 please" });

  it("R3 answers from another conversation that saw the same world, newest first", () => {
    const mine = skipped("mine", 3 * DAY);
    const old = conversation("old", [lookup("A1", "processing")], { startMs: 1 * DAY });
    const newer = conversation("newer", [lookup("A1", "delivered")], { startMs: 2 * DAY });
    expect(shown(play(cascadeFor([mine, old, newer]), mine, [lookup("A1")]))).toEqual([["R3", body(lookup("A1", "delivered"))]]);
  });

  it("keeps what came after another conversation's write from what came before it, and vice versa", () => {
    const first = skipped("contact 1", 1 * DAY);
    const asked = conversation("contact 1b", [lookup("A1", "delivered")], { startMs: 1 * DAY + 60_000 });
    const refunding = conversation("contact 2", [refund("A1")], { startMs: 2 * DAY });
    const last = conversation("contact 3", [lookup("A1", "delivered", true)], { startMs: 3 * DAY });
    const late = skipped("contact 4", 4 * DAY);
    const cascade = cascadeFor([first, asked, refunding, last, late]);
    expect(shown(play(cascade, first, [lookup("A1")]))).toEqual([["R3", body(lookup("A1", "delivered"))]]);
    expect(shown(play(cascade, late, [lookup("A1")]))).toEqual([["R3", body(lookup("A1", "delivered", true))]]);
    const withoutAsked = cascadeFor([first, refunding, last, late]);
    expect(play(withoutAsked, first, [lookup("A1")])[0]?.rung).toBe("R7");
    const withoutLast = cascadeFor([first, asked, refunding, late]);
    expect(play(withoutLast, late, [lookup("A1")])[0]?.rung).toBe("R7");
  });

  it("does not answer while another conversation's write overlapped", () => {
    const mine = skipped("mine", 3 * DAY);
    const asked = conversation("asked", [lookup("A1")], { startMs: 1 * DAY });
    const racing = conversation("racing", [refund("A1")], { startMs: 1 * DAY - 5 });
    expect(play(cascadeFor([mine, asked, racing]), mine, [lookup("A1")])[0]?.rung).toBe("R7");
  });

  it("refuses a tape that contradicts what the own tape shows of the entity", () => {
    const status = { tool: "order_status", args: { order_id: "A1" }, result: { order_id: "A1", status: "delivered" } };
    const tools = [...(conversation("x", []).tools ?? []), { name: "order_status", parameters: { type: "object" } }];
    const mine = conversation("mine", [status], { startMs: 2 * DAY, tools });
    const other = (shownStatus: string) => conversation("other", [lookup("A1", shownStatus)], { startMs: 1 * DAY, tools });
    const orderStatus = shopConfigs["lookup_order"];
    const all = { ...shopConfigs, ...(orderStatus === undefined ? {} : { order_status: orderStatus }) };
    expect(play(cascadeFor([mine, other("delivered")], { configs: all }), mine, [lookup("A1")])[0]?.rung).toBe("R3");
    expect(play(cascadeFor([mine, other("shipped")], { configs: all }), mine, [lookup("A1")])[0]?.rung).toBe("R7");
  });

  it("never answers training from a held-out tape, yet knows that its keys exist", () => {
    const mine = skipped("mine", 3 * DAY);
    const secret = conversation("secret", [lookup("B7"), policyOf("desk")], { startMs: 1 * DAY });
    const cascade = cascadeFor([mine, secret], { heldOut: ["secret"] });
    expect(play(cascade, mine, [lookup("B7"), policyOf("desk")]).map(({ rung }) => rung)).toEqual(["R7", "R7"]);
  });

  it("refuses tapes of two tenants", () => {
    const profiles = new Map();
    const tapes = withEras(
      ["a", "b"].map((tenant) => tapeOf(conversation(tenant, [], { overrides: { tenant } }), { profiles, split: "train" })),
    );
    expect(() => createTapePool(tapes, { profiles, split: "train" })).toThrow(/several tenants/);
  });

  it("does not answer a tool whose schema changed", () => {
    const mine = skipped("mine", 3 * DAY);
    const changed = (mine.tools ?? []).map((tool) => ({
      ...tool,
      parameters: { type: "object", properties: { order_id: {}, verbose: {} } },
    }));
    const other = conversation("other", [lookup("A1")], { startMs: DAY, tools: changed });
    expect(play(cascadeFor([mine, other]), mine, [lookup("A1")])[0]?.rung).toBe("R7");
  });
});

describe("made up", () => {
  const mine = conversation("mine", [lookup("A1"), policyOf("lamp")], { startMs: 9 * DAY });
  const refunds = ["B1", "B2", "B3"].map((id, index) =>
    conversation(`r${id}`, [lookup(id), refund(id), lookup(id, "delivered", true)], { startMs: index * DAY }),
  );
  const failures = ["C1", "C2"].map((id, index) =>
    conversation(`f${id}`, [lookup(id, "delivered", true), refundFails(id)], { startMs: (4 + index) * DAY }),
  );

  it("answers the refund that the recording forgot, and the look afterwards", () => {
    const answers = play(cascadeFor([mine, ...refunds, ...failures]), mine, [lookup("A1"), refund("A1"), lookup("A1"), refund("A1")]);
    expect(shown(answers)).toEqual([
      ["R1", body(lookup("A1"))],
      ["R4", body(refund("A1"))],
      ["R4", body(lookup("A1", "delivered", true))],
      ["R4", body(refundFails("A1"))],
    ]);
    expect(answers.map(({ confidence }) => confidence)).toEqual([1, 0.9, 0.95, 0.9]);
    // Whose text is in what no tape holds: the newest example's, the known answer's, the newest failure's.
    expect(answers.map(({ madeFrom }) => madeFrom)).toEqual([[], ["rB3@1"], ["mine@1"], ["fC2@1"]]);
  });

  it("says nothing of a write that was refused for no reason known, however rarely, and hopes only where that hardly ever happened", () => {
    const unexplained = conversation("u", [lookup("D1"), refundFails("D1")], { startMs: 6 * DAY });
    // One of four recorded refunds failed, and nothing tells it from the others.
    const cascade = cascadeFor([mine, ...refunds, unexplained]);
    const answers = Array.from({ length: 20 }, (_, seed) => play(cascade, mine, [refund("A1")], [seed, 0])[0]);
    expect(answers.map((answer) => answer?.rung)).toEqual(answers.map(() => "R7"));
    const many = Array.from({ length: 60 }, (_, index) =>
      conversation(`m${index}`, [lookup(`M${index}`), refund(`M${index}`)], { startMs: 7 * DAY + index }),
    );
    expect(play(cascadeFor([mine, ...many, unexplained]), mine, [refund("A1")])[0]).toMatchObject({ rung: "R5", isError: false });
  });

  it("makes nothing up for a tool that nobody declared a write", () => {
    const undeclared = Object.fromEntries(Object.entries(shopConfigs).filter(([tool]) => tool !== "issue_refund"));
    const answers = play(cascadeFor([mine, ...refunds], { configs: undeclared }), mine, [refund("A1")]);
    expect(answers[0]?.rung).toBe("R7");
  });

  it("says nothing about a write that no tape holds, and about a read whose write showed no effect", () => {
    expect(play(cascadeFor([mine]), mine, [refund("A1")])[0]?.rung).toBe("R7");
    const blind = conversation("blind", [lookup("A9"), { ...refund("A9"), result: { order_id: "A9", ok: 1 } }], { startMs: DAY });
    expect(play(cascadeFor([blind]), blind, [lookup("A9"), refund("A9"), lookup("A9")]).map(({ rung }) => rung)).toEqual([
      "R1",
      "R1",
      "R7",
    ]);
  });

  it("believes what was made of another tape's answer no further than that", () => {
    const early = conversation("early", [lookup("A1"), lookup("D1", "packed")], { startMs: 7 * DAY });
    const derived = (status: string) => {
      const own = conversation("own", [lookup("D1", status)], { startMs: 8 * DAY, says: "my order A1" });
      return play(cascadeFor([early, own, ...refunds, ...failures]), own, [refund("A1"), lookup("A1")])[1];
    };
    expect(derived("packed")).toMatchObject({ rung: "R4", madeFrom: ["early@1"], confidence: 0.85 });
    // Somebody unrecorded wrote to D1 in between: 1 − (0.3 + 1) / (2 + 1).
    expect(derived("sent")).toMatchObject({ rung: "R4", madeFrom: ["early@1"], confidence: expect.closeTo(1 - 1.3 / 3, 12) as number });
  });

  it("stops deriving a read from a write once a tape contradicts the rule", () => {
    const contradicting = conversation("c", [lookup("E1"), refund("E1"), lookup("E1", "returned", true)], { startMs: 7 * DAY });
    const answers = play(cascadeFor([mine, ...refunds, ...failures, contradicting]), mine, [lookup("A1"), refund("A1"), lookup("A1")]);
    expect(answers.map(({ rung }) => rung)).toEqual(["R1", "R4", "R7"]);
  });
});

describe("the agent's own mistakes", () => {
  const mine = conversation("mine", [lookup("A1"), notFound("Z9")], { says: "where is order A1? or was it A5?" });
  const cascade = cascadeFor([mine]);

  it.each([
    ["a tool that does not exist", { tool: "find_order", args: { id: 1 } }, '{"error":"unknown tool: find_order"}'],
    [
      "arguments without the key",
      { tool: "lookup_order", args: {} },
      `{"error":"invalid arguments: arguments must have required property 'order_id'"}`,
    ],
    ["arguments that are no JSON", { tool: "lookup_order", args: "{order" }, '{"error":"invalid arguments: arguments must be object"}'],
    ["an invented key", { tool: "lookup_order", args: { order_id: "Q7" } }, '{"error":"order not found","order_id":"Q7"}'],
  ])("answers %s with an error, unmasked", (_, call, expected) => {
    const madeFrom = expected.includes("not found") ? ["mine@1"] : [];
    expect(play(cascade, mine, [call])).toMatchObject([{ rung: "agent_error", isError: true, result: expected, madeFrom }]);
  });

  it("takes a new name given to a write for an invention where that failed in three conversations, not three times in one", () => {
    const wrong = (id: string): Step => ({ ...refund(id), result: { error: "order not found", order_id: id } });
    const others = (each: readonly Step[][]) => each.map((steps, index) => conversation(`o${index}`, steps, { says: "refund it" }));
    const asked = (each: readonly Step[][]) => play(cascadeFor([...others(each), mine]), mine, [refund("Q7")])[0]?.rung;
    expect(asked([[wrong("X1"), wrong("X2"), wrong("X3")]])).not.toBe("agent_error");
    expect(asked([[wrong("X1")], [wrong("X2")], [wrong("X3")]])).toBe("agent_error");
  });

  it("is surer of an invention the more conversations show that made-up keys fail, and less where one was right", () => {
    const guesses = (count: number, isRight: (index: number) => boolean) =>
      Array.from({ length: count }, (_, index) =>
        conversation(`g${index}`, [isRight(index) ? lookup(`G${index}`) : notFound(`G${index}`)], { says: "where is it" }),
      );
    const confidence = (count: number, isRight: (index: number) => boolean = () => false): number | undefined => {
      const own = conversation("own", [lookup("A1")], { startMs: 9 * DAY });
      const [answer] = play(cascadeFor([own, ...guesses(count, isRight)]), own, [lookup("Q7")]);
      expect(answer?.rung).toBe("agent_error");
      return answer?.confidence;
    };
    // Where none was seen to fail, it may be one that few tapes do not show.
    expect([0, 1, 4, 5].map((count) => confidence(count))).toEqual([0.4, 0.85, 0.85, 0.97]);
    // One of twenty was right: 1 − (0.3 + 1) / (2 + 20).
    expect(confidence(20, (index) => index === 0)).toBeCloseTo(1 - 1.3 / 22, 12);
  });

  it("does not call a key that the conversation mentions an invention", () => {
    expect(play(cascade, mine, [lookup("A5")])[0]?.rung).toBe("R7");
  });
});

const mine = conversation("mine", [lookup("A1"), refund("A1")]);
const sampled = cascadeFor([mine]);
test.prop([fc.json(), fc.constantFrom("lookup_order", "refund_policy", "issue_refund", "constructor", "__proto__")])(
  "answers or refuses whatever a policy samples, and twice the same",
  (args, tool) => {
    expect(play(sampled, mine, [{ tool, args }])).toEqual(play(sampled, mine, [{ tool, args }]));
  },
);
