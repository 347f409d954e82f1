import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { refundAllowed } from "../../deploy/quickstart/catalog.ts";
import { generateDay, generateFresh, generateTraffic, returnVisit, type World } from "../../deploy/quickstart/customers.ts";
import type { Outcome } from "../../deploy/quickstart/shop.ts";

const seeds = fc.integer({ min: 0, max: 1_000_000 });

describe("worlds", () => {
  test.prop([seeds])("one seed always makes the same world, another seed another one", (seed) => {
    const day = generateDay({ seed, contacts: 60 });
    expect(generateDay({ seed, contacts: 60 })).toEqual(day);
    expect(generateDay({ seed: seed + 1, contacts: 60 })).not.toEqual(day);
  });

  test.prop([seeds], { numRuns: 20 })("the three crowds of a seed share no user and no order", (seed) => {
    const worlds = [
      generateDay({ seed, contacts: 400 }),
      generateTraffic({ seed, customers: 400 }),
      generateFresh({ seed, customers: 300 }),
    ];
    for (const keys of [orderIds, userIds]) {
      const all = worlds.flatMap(keys);
      expect(new Set(all).size).toBe(all.length);
    }
  });

  test.prop([seeds], { numRuns: 20 })("contacts are about the customer's own orders and name them", (seed) => {
    for (const customer of generateDay({ seed, contacts: 100 }).customers) {
      const own = new Set(customer.orders.map(({ orderId }) => orderId));
      for (const visit of customer.visits) {
        expect(own.has(visit.orderId) && visit.userId === customer.userId && visit.message.includes(visit.orderId)).toBe(true);
      }
    }
  });

  test("a larger day begins with the same customers", () => {
    const small = generateDay({ seed: 3, contacts: 50 }).customers;
    expect(generateDay({ seed: 3, contacts: 90 }).customers.slice(0, small.length)).toEqual(small);
  });

  test("has enough of everything: tones, kinds, refunds that are due and that are not", () => {
    const { customers, orders } = generateDay({ seed: 1, contacts: 600 });
    const visits = customers.flatMap((customer) => customer.visits);
    const due = new Set(orders.filter(refundAllowed).map(({ orderId }) => orderId));
    const share = (wanted: (visit: (typeof visits)[number]) => boolean): number => visits.filter(wanted).length / visits.length;
    expect(share(({ kind }) => kind === "refund")).toBeCloseTo(0.6, 1);
    expect(share(({ tone }) => tone === "terse")).toBeCloseTo(0.4, 1);
    expect(share(({ kind, orderId }) => kind === "refund" && due.has(orderId))).toBeCloseTo(0.3, 1);
  });
});

describe("returnVisit", () => {
  const [customer] = generateDay({ seed: 1, contacts: 1 }).customers;
  const contact = customer!.visits[0]!;
  const outcome = (reason: Outcome["reason"], refunded = false): Outcome => ({ success: reason === "resolved", reason, refunded });

  test.each([
    ["helped", outcome("resolved"), false],
    ["has the money, wrongly", outcome("wrongly_refunded", true), false],
    ["has the money, told otherwise", outcome("wrong_reply", true), false],
    ["not paid", outcome("not_refunded"), true],
    ["told something false", outcome("wrong_reply"), true],
  ] as const)("%s", (_, result, comes) => {
    expect(returnVisit(contact, result) !== null).toBe(comes);
  });

  test("comes three times at most, every time as a contact of its own", () => {
    const second = returnVisit(contact, outcome("wrong_reply"))!;
    const third = returnVisit(second, outcome("wrong_reply"))!;
    expect(returnVisit(third, outcome("wrong_reply"))).toBeNull();
    expect(new Set([contact, second, third].map(({ contactId }) => contactId)).size).toBe(3);
    expect(third.message).toContain(contact.orderId);
  });
});

function orderIds(world: World): string[] {
  return world.orders.map(({ orderId }) => orderId);
}

function userIds(world: World): string[] {
  return world.customers.map(({ userId }) => userId);
}
