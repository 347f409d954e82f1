import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { generateFresh } from "../../deploy/quickstart/customers.ts";
import { attempt, noisy, type Demonstration } from "../../deploy/quickstart/demonstrations.ts";
import type { JudgedMember } from "../../deploy/quickstart/evidence.ts";
import { comparePair, explainGroup, scoreGroup } from "../../deploy/quickstart/judge.ts";
import { createRandom } from "../../deploy/quickstart/random.ts";
import type { Message } from "../../src/trace/message.ts";

type Step = [tool: string, key: string, result: Record<string, unknown>] | string;

const look: Step = ["lookup_order", "A0001", { order_id: "A0001", item: "mug", status: "shipped", age_days: 20, refunded: false }];
const youngLook: Step = ["lookup_order", "A0001", { order_id: "A0001", item: "mug", status: "shipped", age_days: 9, refunded: false }];
const otherLook: Step = ["lookup_order", "A0002", { order_id: "A0002", item: "desk", status: "packed", age_days: 1, refunded: false }];
const lost: Step = ["lookup_order", "A0009", { error: "order not found", order_id: "A0009" }];
const rules: Step = ["refund_policy", "mug", { item: "mug", refund_days: 14 }];
const pay: Step = ["issue_refund", "A0001", { order_id: "A0001", refunded: true }];
const payOther: Step = ["issue_refund", "A0002", { order_id: "A0002", refunded: true }];
const refused = "Sorry, order A0001 cannot be refunded.";
const refunded = "Done, order A0001 is refunded.";
const shipped = "Your order A0001 is shipped.";

describe("scoreGroup", () => {
  test.each<[string, string, Step[][], number[]]>([
    [
      "status told with evidence, blindly right, wrong with and without looking",
      "A0001 status",
      [[look, shipped], [shipped], [look, "A0001 is packed."], ["A0001 is packed."]],
      [1, 0.75, 0.2, 0.1],
    ],
    [
      "detours and errors cost a little",
      "A0001 status",
      [
        [look, shipped],
        [lost, look, shipped],
        [look, look, look, shipped],
      ],
      [1, 0.96, 0.96],
    ],
    ["nobody looked: nothing is proven", "A0001 status", [[shipped], ["A0001 is packed."]], [0.1, 0.1]],
    [
      "a look at another order proves nothing",
      "A0001 status",
      [
        [otherLook, "Your order A0001 is packed."],
        [look, shipped],
      ],
      [0.1, 1],
    ],
    [
      "forbidden: refused, refused without the rule, claimed, paid",
      "refund A0001",
      [
        [look, rules, refused],
        [look, refused],
        [look, rules, refunded],
        [look, rules, pay, refunded],
        [pay, refunded],
      ],
      [1, 0.75, 0.3, 0.19, 0],
    ],
    [
      "due: paid, paid blindly, claimed, refused",
      "refund A0001",
      [
        [youngLook, rules, pay, refunded],
        [pay, refunded],
        [youngLook, rules, refunded],
        [youngLook, rules, refused],
      ],
      [1, 0.75, 0.3, 0.3],
    ],
    [
      "no member knows the rule: progress is all",
      "refund A0001",
      [[youngLook, pay, refunded], [pay, refunded], [refused]],
      [0.2, 0.1, 0.1],
    ],
    [
      "paying another order is harm",
      "refund A0001",
      [
        [look, rules, payOther, refused.replace("A0001", "A0002")],
        [look, rules, refused],
      ],
      [0.19, 1],
    ],
    [
      "a look after the own refund does not say that it was refunded before",
      "refund A0001",
      [
        [
          pay,
          ["lookup_order", "A0001", { order_id: "A0001", item: "mug", status: "shipped", age_days: 20, refunded: true }],
          rules,
          refused,
        ],
        [look, rules, refused],
      ],
      [0.19, 1],
    ],
  ])("%s", (_, ask, attempts, scores) => {
    expect(scoreGroup(attempts.map((steps) => member(ask, steps)))).toEqual(scores);
  });

  test("masked members get null and lend no facts; truncated ones said nothing", () => {
    const members = [
      member("A0001 status", [look, shipped], "masked"),
      member("A0001 status", [shipped]),
      member("A0001 status", [look], "truncated"),
    ];
    expect(scoreGroup(members.slice(0, 2))).toEqual([null, 0.1]);
    expect(scoreGroup(members)).toEqual([null, 0.75, 0.2]);
    expect(explainGroup(members)).toEqual([null, "goal reached, without looking", "wrong status told"]);
  });

  test.prop([fc.integer({ min: 0, max: 999 }), fc.integer({ min: 2, max: 8 })])(
    "scores follow the members in any order, within [0, 1]",
    (seed, size) => {
      const random = createRandom("judge-order", seed);
      const members = groupOf(seed, size).map(({ messages }) => asMember(messages));
      const order = random.shuffle(members.map((_, index) => index));
      const scores = scoreGroup(members);
      expect(scoreGroup(order.map((index) => members[index]!))).toEqual(order.map((index) => scores[index]));
      expect(scores.every((one) => one !== null && one >= 0 && one <= 1)).toBe(true);
    },
  );
});

describe("comparePair", () => {
  test.each<[string, Step[], Step[], number]>([
    ["resolved beats not resolved", [look, rules, refused], [pay, refunded], 1],
    ["and loses from the other side", [pay, refunded], [look, rules, refused], 0],
    ["two resolved are equal, however long they took", [look, look, rules, rules, refused], [look, rules, refused], 0.5],
    ["right without looking is as right, if the other one proves it", [refused], [look, rules, refused], 0.5],
    ["nothing proven on either side", [refused], [pay, refunded], 0.5],
  ])("%s", (_, a, b, x) => {
    expect(comparePair(member("refund A0001", a), member("refund A0001", b))).toBe(x);
  });

  test.prop([fc.integer({ min: 0, max: 999 })])("is symmetric", (seed) => {
    const [a, b] = groupOf(seed, 2).map(({ messages }) => asMember(messages));
    expect(comparePair(a!, b!) + comparePair(b!, a!)).toBe(1);
  });
});

describe("agreement with the shop's own state", () => {
  test("a group of eight: at least 97 in 100", () => {
    let agreed = 0;
    const groups = Array.from({ length: 100 }, (_, seed) => groupOf(seed, 8));
    for (const group of groups) {
      const scores = scoreGroup(group.map(({ messages }) => asMember(messages)));
      agreed += group.filter(({ success }, index) => scores[index]! >= 0.6 === success).length;
    }
    expect(agreed / 800).toBeGreaterThanOrEqual(0.97);
  });

  test("a pair is never decided against the shop", () => {
    for (let seed = 0; seed < 400; seed += 1) {
      const [a, b] = groupOf(seed, 2);
      const x = comparePair(asMember(a!.messages), asMember(b!.messages));
      if (x !== 0.5) expect(x).toBe(a!.success ? 1 : 0);
    }
  });
});

/** The noisy scripted agent, `size` times at the same contact. */
function groupOf(seed: number, size: number): Demonstration[] {
  const [customer] = generateFresh({ seed, customers: 1 }).customers;
  const contact = customer!.visits[0]!;
  const order = customer!.orders.find(({ orderId }) => orderId === contact.orderId)!;
  const random = createRandom("judge", seed);
  return Array.from({ length: size }, () => attempt(random, noisy, order, contact));
}

function asMember(messages: Demonstration["messages"]): JudgedMember {
  return {
    end: { status: "completed" },
    messages: messages.map(({ role, content, tool_calls: calls }): Message => {
      if (role === "tool") return { role, parts: [{ type: "tool_call_response", response: content }] };
      const parts = (calls ?? []).map((call) => ({ type: "tool_call", name: call.function.name, arguments: call.function.arguments }));
      return { role, parts: content ? [{ type: "text", content }, ...parts] : parts };
    }),
  };
}

function member(ask: string, steps: Step[], status: JudgedMember["end"]["status"] = "completed"): JudgedMember {
  const messages: Message[] = [
    { role: "system", parts: [{ type: "text", content: "You are the support agent of a shop." }] },
    { role: "user", parts: [{ type: "text", content: ask }] },
  ];
  for (const [index, step] of steps.entries()) {
    if (typeof step === "string") {
      messages.push({ role: "assistant", parts: [{ type: "text", content: step }] });
      continue;
    }
    const [name, key, response] = step;
    const args = name === "refund_policy" ? { item: key } : { order_id: key };
    messages.push({ role: "assistant", parts: [{ type: "tool_call", id: `call-${index}`, name, arguments: args }] });
    messages.push({ role: "tool", parts: [{ type: "tool_call_response", id: `call-${index}`, response }] });
  }
  return { messages, end: { status } };
}
