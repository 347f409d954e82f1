import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { assignmentKey, assignmentPoint, drawAssignment, servedTarget, type EffectiveRoute } from "../../src/serving/assignment.ts";
import { createAssignmentPins } from "../../src/serving/assignment-pins.ts";

const STABLE = { name: "shop-1-aaaaaaaaaaaa", digest: "sha256:aaaa" };
const CANDIDATE = { name: "shop-2-bbbbbbbbbbbb", digest: "sha256:bbbb" };

function routeAt(weight: number, changes: Partial<EffectiveRoute> = {}): EffectiveRoute {
  return { agent: "shop", stable: STABLE, candidate: CANDIDATE, weight, experimentId: "exp-1", salt: "salt-1", version: 3, ...changes };
}

const armOf = (route: EffectiveRoute, key: string) => drawAssignment(route, { key, weak: false }).arm;

describe("the point of a key", () => {
  // printf '%s' 'salt-1key-a' | sha256sum: the first 16 hex digits, over 2^64.
  test.each([
    { salt: "salt-1", key: "key-a", hex: "ca1eda0416437fb8", point: 0.7895332584360073 },
    { salt: "salt-1", key: "key-b", hex: "54c19476720b7026", point: 0.33107879535422824 },
    { salt: "salt-2", key: "key-a", hex: "525b30b230453601", point: 0.32170395231539295 },
    { salt: "exp", key: "conversation-é", hex: "4602fb958bded14a", point: 0.2734830131629409 },
  ])("of $salt ‖ $key is 0x$hex / 2^64", ({ salt, key, point }) => {
    expect(assignmentPoint(salt, key)).toBeCloseTo(point, 15);
  });

  test.prop([fc.string(), fc.string()])("is in [0, 1)", (salt, key) => {
    const point = assignmentPoint(salt, key);
    expect(point >= 0 && point < 1).toBe(true);
  });

  test("is uniform: 20,000 keys fill twenty bins evenly", () => {
    const bins = Array.from({ length: 20 }, () => 0);
    for (let index = 0; index < 20_000; index++) {
      const bin = Math.floor(assignmentPoint("salt-1", `key-${index}`) * 20);
      bins[bin] = (bins[bin] ?? 0) + 1;
    }
    const chiSquare = bins.reduce((sum, observed) => sum + (observed - 1_000) ** 2 / 1_000, 0);
    // 19 degrees of freedom, p = 0.001.
    expect(chiSquare).toBeLessThan(43.8);
  });
});

describe("an arm", () => {
  test.prop([fc.string({ minLength: 1 }), fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })])(
    "never leaves the candidate when the weight grows",
    (key, one, other) => {
      const [low, high] = [Math.min(one, other), Math.max(one, other)];
      if (armOf(routeAt(low), key) === "candidate") expect(armOf(routeAt(high), key)).toBe("candidate");
    },
  );

  test("is drawn anew with a new salt: the two draws agree as often as independent ones", () => {
    const keys = Array.from({ length: 4_000 }, (_, index) => `key-${index}`);
    const agreeing = keys.filter((key) => armOf(routeAt(0.5), key) === armOf(routeAt(0.5, { salt: "salt-2" }), key)).length;
    // Binomial(4000, ½): 2000 ± 4 standard deviations of 31.6.
    expect(Math.abs(agreeing - 2_000)).toBeLessThan(127);
  });

  test.each([
    { what: "weight 0", route: routeAt(0) },
    { what: "no candidate", route: routeAt(1, { candidate: null }) },
    { what: "no salt", route: routeAt(1, { salt: null }) },
  ])("is stable with probability 0 at $what", ({ route }) => {
    expect(drawAssignment(route, { key: "any", weak: false })).toMatchObject({ arm: "stable", probability: 0 });
  });
});

describe("a pin", () => {
  const key = { key: "k", weak: false };

  test("keeps arm, probability and route version of the first call", () => {
    const pins = createAssignmentPins({ maxKeys: 10, keyIdleMs: 1_000 }, { monotonicMs: () => 0 });
    const first = pins.assign(routeAt(1), key);
    expect(first).toEqual({ experimentId: "exp-1", key: "k", weakKey: false, arm: "candidate", probability: 1, routeVersion: 3 });
    expect(pins.assign(routeAt(0, { version: 4 }), key)).toEqual(first);
  });

  test("is served by stable while the candidate is off, and by the candidate again when it is back", () => {
    const assignment = drawAssignment(routeAt(1), key);
    expect(servedTarget(routeAt(0.2), assignment)).toBe(CANDIDATE);
    expect(servedTarget(routeAt(0), assignment)).toBe(STABLE);
    expect(servedTarget(routeAt(1, { candidate: null }), assignment)).toBe(STABLE);
    expect(servedTarget(routeAt(1, { experimentId: "exp-2" }), assignment)).toBe(STABLE);
  });

  test("of a conversation that was open before the experiment stays out of it", () => {
    const pins = createAssignmentPins({ maxKeys: 10, keyIdleMs: 1_000 }, { monotonicMs: () => 0 });
    pins.assign(routeAt(0, { candidate: null, experimentId: null, salt: null }), key);
    expect(pins.assign(routeAt(1), key)).toMatchObject({ arm: "stable", probability: 0, experimentId: null });
  });

  test("lives as long as its key is not idle, then the key is drawn again", () => {
    let nowMs = 0;
    const pins = createAssignmentPins({ maxKeys: 10, keyIdleMs: 1_000 }, { monotonicMs: () => nowMs });
    pins.assign(routeAt(1), key);
    for (nowMs = 900; nowMs < 5_000; nowMs += 900) expect(pins.assign(routeAt(0), key).arm).toBe("candidate");
    nowMs += 1_001;
    expect(pins.assign(routeAt(0), key).arm).toBe("stable");
  });

  test("is forgotten when more keys than allowed were used since", () => {
    const pins = createAssignmentPins({ maxKeys: 2, keyIdleMs: 1_000 }, { monotonicMs: () => 0 });
    pins.assign(routeAt(1), key);
    for (const other of ["x", "y"]) pins.assign(routeAt(1), { key: other, weak: false });
    expect(pins.assign(routeAt(0), key).arm).toBe("stable");
  });
});

describe("the key of a request", () => {
  const opening = () => ({ credential: "Bearer c", system: "you are", firstUser: "hi" });
  const traceparent = `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`;

  test.each([
    { what: "trajectory before session", headers: { "x-trajectory-id": "t", "x-session-id": "s" }, key: "t", weak: false },
    { what: "session where no trajectory", headers: { "x-session-id": " s " }, key: "s", weak: false },
    { what: "blank headers are none", headers: { "x-trajectory-id": " ", "x-session-id": "s" }, key: "s", weak: false },
    { what: "trace id where configured", headers: { traceparent }, traceparent: true, key: "ab".repeat(16), weak: false },
    {
      what: "no trace id of zeros",
      headers: { traceparent: `00-${"0".repeat(32)}-${"cd".repeat(8)}-01` },
      traceparent: true,
      key: /^weak-/,
      weak: true,
    },
    { what: "no trace id unless configured", headers: { traceparent }, key: /^weak-/, weak: true },
  ])("$what", ({ headers, traceparent: isConfigured, key, weak }) => {
    const found = assignmentKey(headers, { traceparent: isConfigured ?? false, opening });
    expect(found.weak).toBe(weak);
    if (typeof key === "string") expect(found.key).toBe(key);
    else expect(found.key).toMatch(key);
  });

  test("a weak key tells apart credential, system prompt and first user message", () => {
    const keyOf = (changes: Partial<ReturnType<typeof opening>>) =>
      assignmentKey({}, { traceparent: false, opening: () => ({ ...opening(), ...changes }) }).key;
    const keys = [{}, { credential: "Bearer d" }, { system: "you areh", firstUser: "i" }, { firstUser: "ho" }].map(keyOf);
    expect(new Set(keys).size).toBe(keys.length);
    expect(keyOf({})).toBe(keys[0]);
  });

  test("a very long header is kept short without two of them meeting", () => {
    const keyOf = (id: string) => assignmentKey({ "x-session-id": id }, { traceparent: false, opening }).key;
    expect(keyOf("a".repeat(5_000)).length).toBeLessThan(200);
    expect(keyOf(`${"a".repeat(5_000)}b`)).not.toBe(keyOf(`${"a".repeat(5_000)}c`));
  });
});
