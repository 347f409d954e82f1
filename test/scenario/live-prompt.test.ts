import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { similarityOf } from "../../src/scenario/cluster.ts";
import { livePrompt } from "../../src/scenario/live-prompt.ts";

const RULES = Array.from(
  { length: 40 },
  (_, index) =>
    `Rule ${"abcdefgh"[index % 8]}${"klmnopqr"[(index * 3) % 8]} says that the ${"stuvwxyz"[index % 8]}-case goes to desk ${index}.`,
);
const prompt = (changes: { refund?: string; today?: string; name?: string; extra?: string; days?: string } = {}): string =>
  [
    "You are the assistant of a lamp shop.",
    `Today is ${changes.today ?? "2026-11-20"}.`,
    `The customer is called ${changes.name ?? "Anna Berg"} (id C${changes.name === undefined ? "10442" : "20771"}).`,
    ...RULES.slice(0, 20),
    changes.refund ?? "Never refund without a receipt.",
    `Goods may be sent back within ${changes.days ?? "30"} days.`,
    ...RULES.slice(20),
    ...(changes.extra === undefined ? [] : [changes.extra]),
  ].join("\n");

describe("a prompt is the live one", () => {
  it.each<[string, string]>([
    ["with another date", prompt({ today: "2026-10-02" })],
    ["with a date in words", prompt({ today: "Friday, 2 October 2026" })],
    ["with another time", prompt({ today: "2026-11-19T08:30:12Z" })],
    ["with another customer", prompt({ name: "Carl Tross" })],
    ["with both", prompt({ name: "Eva Maria Lund", today: "3/4/2026" })],
    ["with other spaces", prompt().replaceAll("\n", " \n\n  ")],
  ])("%s", (_, other) => {
    expect(livePrompt([prompt(), other])(other)).toBe(true);
  });
});

describe("a prompt is another one", () => {
  it.each<[string, string]>([
    ["with a rule turned round", prompt({ refund: "Always refund without a receipt." })],
    ["with a word put in", prompt({ refund: "Never refund without a valid receipt." })],
    ["with another number in a rule", prompt({ days: "14" })],
    ["with a rule more", prompt({ extra: "Offer a voucher first." })],
    ["with a rule less", prompt().replace("Never refund without a receipt.\n", "")],
    ["altogether", "Speak like a pirate."],
    ["without a word", ""],
  ])("%s", (_, other) => {
    expect(livePrompt([prompt(), other])(other)).toBe(false);
    expect(livePrompt([...Array<string>(5).fill(prompt()), ...Array<string>(40).fill(other)])(other)).toBe(false);
  });

  it("although it is nearly the same text", () => {
    expect(similarityOf(prompt(), prompt({ refund: "Always refund without a receipt." }))).toBeGreaterThan(0.93);
  });

  it("with dates and names that differ as well", () => {
    const old = prompt({ name: "Carl Tross", today: "2026-10-02", days: "14" });
    expect(livePrompt([prompt(), prompt({ name: "Eva Lund" }), old])(old)).toBe(false);
  });
});

describe("what the conversations show", () => {
  const notes = (index: number): string =>
    prompt({ extra: `Notes: likes ${["red", "small", "cheap", "old", "tall", "dim"][index % 6]} things` });
  it("is a slot where it changes from one to the next, whatever it holds", () => {
    const prompts = Array.from({ length: 12 }, (_, index) => notes(index));
    for (const one of prompts) expect(livePrompt(prompts)(one)).toBe(true);
    expect(livePrompt(prompts)(prompt({ extra: "Notes: something that nobody has seen" }))).toBe(true);
    expect(livePrompt(prompts)(notes(1).replace("Never", "Always"))).toBe(false);
  });

  it("is a version where it held for a while", () => {
    const versions = ["30", "14", "60", "90"].flatMap((days) => Array<string>(6).fill(prompt({ days })));
    const isLive = livePrompt(versions);
    expect(["30", "14", "60", "90"].map((days) => isLive(prompt({ days })))).toEqual([true, false, false, false]);
  });

  it("is a trial where two take turns", () => {
    const [one, other] = [prompt({ refund: "Be brief with them." }), prompt({ refund: "Be thorough with them." })];
    expect(livePrompt([one, other, one, one, other, other, one, other])(other)).toBe(true);
    expect(livePrompt([one, one, one, one, other, other, other, other])(other)).toBe(false);
  });
});

test.prop([fc.array(fc.string({ maxLength: 60 }), { minLength: 1, maxLength: 12 }), fc.string({ maxLength: 60 })], { numRuns: 200 })(
  "takes any text, and the newest prompt is always the live one",
  (prompts, other) => {
    const isLive = livePrompt(prompts);
    expect(isLive(prompts[0] ?? "")).toBe(true);
    expect(typeof isLive(other)).toBe("boolean");
  },
);

it("takes hostile prompts in time that grows with their length", () => {
  const long = (seed: number): string => Array.from({ length: 40_000 }, (_, index) => `w${(index * seed) % 7919}`).join(" ");
  const startMs = performance.now();
  const isLive = livePrompt([long(3), long(5), "a ".repeat(200_000), "1".repeat(300_000), "mon".repeat(100_000), "(".repeat(300_000)]);
  expect(isLive(long(5))).toBe(false);
  expect(performance.now() - startMs).toBeLessThan(10_000);
});
