import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { clusterItems, maskedText, similarityOf } from "../../src/scenario/cluster.ts";
import { scenarioSchema } from "../../src/scenario/scenario.ts";
import { selectScenarios, type SelectionInput } from "../../src/scenario/select.ts";
import { splitOf, subjectOf } from "../../src/scenario/split.ts";
import { conversation, lookup, notFound } from "../rollout/build.ts";
import { openScenarios } from "./settings.ts";
import { tapeOf } from "../../src/trajectory/record-tape.ts";

const HOUR = 3_600_000;
const nowMs = 1_000 * HOUR;
const config = { ...openScenarios, heldOutShare: 0.2 };

type Options = Parameters<typeof conversation>[2];
const contact = (id: string, options: Options = {}) =>
  conversation(id, [lookup("A1")], { startMs: nowMs - 10 * HOUR, says: "where is order A17", ...options });

function select(trajectories: ReturnType<typeof contact>[], overrides: Partial<SelectionInput> = {}) {
  return selectScenarios({
    trajectories,
    tapes: [],
    feedback: [],
    config,
    seed: 1,
    nowMs,
    count: 1_000,
    heldOutCount: 1_000,
    ...overrides,
  });
}

/** Ids whose users train. */
const training = Array.from({ length: 400 }, (_, index) => `c${index}`).filter(
  (id) => splitOf(`user of ${id}`, { salt: "acme", heldOutShare: 0.2 }) === "train",
);

describe("splitOf", () => {
  it("holds out its share of users, the same ones every night, and more of them when the share grows", () => {
    const users = Array.from({ length: 2_000 }, (_, index) => `user ${index}`);
    const heldOut = (heldOutShare: number, salt = "acme"): string[] =>
      users.filter((user) => splitOf(user, { salt, heldOutShare }) === "held_out");
    expect(heldOut(0.2).length / 2_000).toBeCloseTo(0.2, 1);
    const more = new Set(heldOut(0.3));
    expect(heldOut(0.2).every((user) => more.has(user))).toBe(true);
    expect(heldOut(0.2, "other")).not.toEqual(heldOut(0.2));
  });

  it("lets a conversation of nobody known stand for itself", () => {
    expect(subjectOf({ subject: null, conversationId: "x" })).toEqual({ subject: "conversation:x", known: false });
    expect(subjectOf({ subject: "u", conversationId: "x" })).toEqual({ subject: "u", known: true });
  });
});

describe("clusterItems", () => {
  const cluster = (...texts: string[]): number =>
    new Set(clusterItems(texts.map((text, index) => ({ id: `${index}`, text, toolsetHash: "t" }))).values()).size;

  it("masks what differs between customers", () => {
    expect(maskedText("Hi! Where is order A-1234, placed 2024-05-01?")).toBe("hi where is order # placed #");
    expect(cluster("where is order A17?", "Where is order B99!")).toBe(1);
  });

  it("joins what is nearly the same, and keeps apart what is not, in any order", () => {
    const [near, alike, far] = [
      "please tell me now where is my order A1",
      "please tell me now where is my order A2 thanks",
      "i would like my money back for the lamp",
    ];
    expect(similarityOf(near, alike)).toBeGreaterThan(0.6);
    expect(cluster(near, alike, far)).toBe(2);
    expect(cluster(far, alike, near)).toBe(2);
  });

  it("keeps toolsets apart", () => {
    const items = ["t", "u"].map((toolsetHash) => ({ id: toolsetHash, text: "hello", toolsetHash }));
    expect(new Set(clusterItems(items).values()).size).toBe(2);
  });
});

describe("selectScenarios", () => {
  it("makes a scenario of a conversation: what the agent was told, not what it answered", () => {
    const [id = ""] = training;
    const { train } = select([contact(id)]);
    expect(train).toHaveLength(1);
    expect(() => scenarioSchema.parse(train[0])).not.toThrow();
    expect(train[0]).toMatchObject({
      split: "train",
      mode: "loop",
      subject: `user of ${id}`,
      tapes: [`${id}@1`],
      recordedCalls: 2,
      start: { userTurns: [] },
    });
    expect(train[0]?.start.messages.map(({ role }) => role)).toEqual(["system", "user"]);
  });

  const [a = "", b = "", c = "", d = ""] = training;
  const trainable = { verdict: { trainable: true, reasons: [] } };
  it.each<[string, ReturnType<typeof contact>[], Partial<SelectionInput>, Record<string, number>]>([
    [
      "an untrainable one",
      [contact(a), contact(b, { overrides: { verdict: { trainable: false, reasons: ["truncated_json"] } } })],
      {},
      { not_trainable: 1 },
    ],
    [
      "no consent",
      [contact(a), contact(b, { overrides: { verdict: { trainable: false, reasons: ["no_consent"] } } })],
      {},
      { no_consent: 1 },
    ],
    ["an older version", [contact(a), contact(a, { overrides: { version: 2, ...trainable } })], {}, { superseded: 1 }],
    [
      "quarantine",
      [contact(a), contact(b, { startMs: nowMs - HOUR })],
      { config: { ...config, quarantineMs: 2 * HOUR } },
      { quarantine: 1 },
    ],
    ["another toolset than live", [contact(a), contact(b, { startMs: 0, tools: [] })], {}, { toolset_differs: 1 }],
    ["a duplicate", [contact(a), contact(b, { overrides: { contentHash: `content of ${a}` } })], {}, { duplicate: 1 }],
    ["a full cluster", [contact(a), contact(b), contact(c)], { config: { ...config, maxPerCluster: 2 } }, { cluster_cap: 1 }],
    ["too few users", [contact(a), contact(b)], { config: { ...config, minUsersPerCluster: 3 } }, { few_users: 2 }],
    [
      "one user's share",
      [contact(a), contact(b, { user: `user of ${a}` }), contact(c)],
      { count: 3, config: { ...config, maxShareOfRunPerUser: 0.01 } },
      { user_cap: 1 },
    ],
    [
      "one user's share of what the run rolls out",
      [contact(a), contact(b, { user: `user of ${a}` }), contact(c, { user: `user of ${a}` }), contact(d)],
      { count: Number.MAX_SAFE_INTEGER, runSize: 20, config: { ...config, maxShareOfRunPerUser: 0.1 } },
      { user_cap: 1 },
    ],
    ["enough", [contact(a), contact(b), contact(c), contact(d)], { count: 3 }, { enough: 1 }],
  ])("leaves out %s and says so", (_, trajectories, overrides, leftOut) => {
    const { train, funnel } = select(trajectories, overrides);
    const out = Object.values(leftOut).reduce((sum, one) => sum + one, 0);
    expect(funnel.leftOut).toEqual(leftOut);
    expect(train).toHaveLength(trajectories.length - out);
  });

  it("leaves out conversations under another prompt, but not under another date", () => {
    const withPrompt = (id: string, text: string, startMs: number) => {
      const one = contact(id, { startMs });
      return { ...one, messages: [{ role: "system", parts: [{ type: "text" as const, content: text }] }, ...one.messages.slice(1)] };
    };
    const live = "You are the agent of a shop. Always look up the order first. Today is 2026-11-20.";
    const trajectories = [
      withPrompt(a, live, 9 * HOUR),
      withPrompt(b, live.replace("11-20", "10-02"), 8 * HOUR),
      withPrompt(c, "Speak like a pirate.", 7 * HOUR),
    ];
    expect(select(trajectories).funnel.leftOut).toEqual({ prompt_differs: 1 });
  });

  it("never lets a user on both sides of the wall, nor a tape", () => {
    const { train, heldOut, funnel } = select(Array.from({ length: 300 }, (_, index) => contact(`x${index}`, { user: `u${index % 60}` })));
    expect(train.length + heldOut.length).toBe(300);
    expect(funnel.selected).toEqual({ train: train.length, heldOut: heldOut.length });
    const users = new Set(train.map(({ subject }) => subject));
    expect(heldOut.some(({ subject }) => users.has(subject))).toBe(false);
    const tapes = new Set(train.flatMap((scenario) => scenario.tapes));
    expect(heldOut.some((scenario) => scenario.tapes.some((tape) => tapes.has(tape)))).toBe(false);
  });

  it("prefers complaints, then failures, then what was mixed before, then the recent", () => {
    const failed = conversation(b, [notFound("Z9")], { startMs: nowMs - 10 * HOUR, says: "where is order A17" });
    const trajectories = [contact(a), failed, contact(c), contact(d, { startMs: nowMs - 300 * HOUR })];
    const tapes = trajectories.map((one) => tapeOf(one, { profiles: new Map(), split: "train" }));
    const { train } = select(trajectories, { tapes, feedback: [{ conversationId: d, name: "thumbs", value: false }] });
    expect(train.map(({ conversationId }) => conversationId).slice(0, 2)).toEqual([d, b]);
    const solved = new Map(
      train.filter(({ conversationId }) => conversationId === d).map(({ id }) => [id, { spread: 0, meanReward: 0.9 }]),
    );
    const again = select(trajectories, { tapes, feedback: [{ conversationId: d, name: "thumbs", value: false }], history: solved });
    expect(again.train.map(({ conversationId }) => conversationId)[0]).toBe(b);
  });

  it("counts unknown subjects, and lets the operator say whether they are users", () => {
    const nobody = training.slice(0, 12).map((id) => contact(id, { user: null }));
    const three = { ...config, minUsersPerCluster: 3 };
    const counted = select(nobody, { config: three });
    expect(counted.funnel.unknownSubjects).toBe(12);
    const uncounted = select(nobody, { config: { ...three, countUnknownSubjects: false } });
    expect(uncounted.train).toEqual([]);
    expect(uncounted.funnel.leftOut).toEqual({ few_users: counted.train.length });
  });

  test.prop(
    [
      fc.shuffledSubarray(
        Array.from({ length: 40 }, (_, index) => index),
        { minLength: 40 },
      ),
    ],
    { numRuns: 15 },
  )("does not depend on the order of its input", (order) => {
    const all = Array.from({ length: 40 }, (_, index) =>
      contact(`p${index}`, { user: `u${index % 15}`, says: `question of kind ${["a", "bb", "ccc"][index % 3]} about A${index}` }),
    );
    const limits = { count: 10, heldOutCount: 3, config: { ...config, maxPerCluster: 6 } };
    expect(
      select(
        order.map((index) => all[index] as (typeof all)[number]),
        limits,
      ),
    ).toEqual(select(all, limits));
  });
});
