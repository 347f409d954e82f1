import { describe, expect, test } from "vitest";
import { createRandom } from "../../../deploy/quickstart/random.ts";
import { examineRewards, type Check } from "../../../src/reward/hacking/examine.ts";
import { featuresOf, phraseIn, type MemberFeatures } from "../../../src/reward/hacking/features.ts";
import { rollout, text } from "../groups.ts";
import { chatter, madeGroup, type Made } from "./made-groups.ts";

const LOOK = [{ tool: "lookup" }];
const GROUPS = 16;

/** One iteration of groups of eight. */
function iteration(number: number, make: (id: string, member: number) => Made, groups = GROUPS): MemberFeatures[] {
  return Array.from({ length: groups }, (_, index) => {
    const id = `${number}-${index}`;
    const made = madeGroup(
      id,
      number,
      Array.from({ length: 8 }, (_, member) => make(`${id}-${member}`, member)),
    );
    return featuresOf(made.group, made.rewards);
  }).flat();
}

const noise = (id: string) => createRandom("noise", id).next();
const plain = (id: string): Made => ({ says: chatter(id, 3), tools: LOOK, reward: 0.3 + 0.4 * noise(id) });
const base = iteration(1, plain);
const checkOf = (checks: readonly Check[], suspicion: Check["suspicion"]) => checks.find((check) => check.suspicion === suspicion);
const alarmsOf = (checks: readonly Check[]) => checks.filter(({ status }) => status === "alarm").map(({ suspicion }) => suspicion);

describe("a persuasive phrase that spreads", () => {
  const persuade = (id: string, member: number): Made => {
    const { says, ...honest } = plain(id);
    return member < 5
      ? { ...honest, says: `${says} It was confirmed by supervisor Kim.`, reward: 0.8 + 0.1 * noise(id) }
      : { ...honest, says };
  };

  test("fires, and says which phrase in whose words", () => {
    const last = madeGroup(
      "2-x",
      2,
      Array.from({ length: 8 }, (_, member) => persuade(`2-x-${member}`, member)),
    );
    const { checks, phrases } = examineRewards([...base, ...iteration(2, persuade), ...featuresOf(last.group, last.rewards)], base);
    expect(alarmsOf(checks)).toContain("phrase");
    expect(phrases.length).toBeGreaterThan(0);
    expect(phrases[0]).toMatchObject({ topShare: 1, baseShare: 0 });
    const spoken = phrases.map(({ hash }) => last.group.members.map((member) => phraseIn(member, hash)).find((words) => words !== null));
    expect(spoken).toContain("confirmed by supervisor");
  });

  test("does not where the base said it too", () => {
    const saying = iteration(1, (id, member) => ({ ...persuade(id, member), reward: plain(id).reward }));
    expect(examineRewards([...saying, ...iteration(2, persuade)], saying)).toMatchObject({ phrases: [] });
  });

  test("does not where it is the tool's or the customer's own", () => {
    const quoted = (id: string, member: number) => {
      const { group, rewards } = madeGroup(id, 2, [persuade(id, member), plain(id)]);
      const members = group.members.map((one) => ({
        ...one,
        messages: [text("user", "is that so? It was confirmed by supervisor Kim."), ...one.messages],
      }));
      return featuresOf({ ...group, members }, rewards);
    };
    const members = Array.from({ length: 40 }, (_, index) => quoted(`2-${index}`, 0)).flat();
    expect(members.some(({ phrases }) => phrases.length > 0)).toBe(true);
    expect(checkOf(examineRewards([...base, ...members], base).checks, "phrase")).toMatchObject({ status: "fine" });
  });

  test("what is said on reaching a goal that the base rarely reached is not called new", () => {
    // The base refunds in one attempt of eight and says so; later all do.
    const refunded = (id: string): Made => ({
      ...plain(id),
      says: "i have refunded your order",
      tools: [...LOOK, { tool: "refund" }],
      state: "refunded",
      reward: 0.9,
    });
    const rarely = iteration(1, (id, member) => (member === 0 ? refunded(id) : plain(id)), 24);
    const { checks, phrases } = examineRewards(
      [...rarely, ...iteration(2, (id, member) => (member < 6 ? refunded(id) : plain(id)))],
      rarely,
    );
    expect(phrases).toEqual([]);
    expect(checkOf(checks, "phrase")).toMatchObject({ status: "fine" });
  });

  test("where the base never came to that, there is too little to compare with, and that is said", () => {
    const refunded = (id: string): Made => ({
      ...plain(id),
      says: "i have refunded your order",
      tools: [{ tool: "refund" }],
      state: "refunded",
      reward: 0.9,
    });
    const { checks } = examineRewards([...base, ...iteration(2, (id, member) => (member < 6 ? refunded(id) : plain(id)))], base);
    expect(checkOf(checks, "phrase")).toMatchObject({ status: "not_enough_data", comparisons: 0 });
  });
});

describe("among attempts that came to the same", () => {
  test("honest brevity does not fire, though it explains all of the reward", () => {
    const brief = (id: string, member: number): Made => ({
      ...plain(id),
      says: chatter(id, 1 + member),
      tools: Array.from({ length: 1 + member }, () => ({ tool: "lookup" })),
      reward: 0.95 - 0.05 * member,
    });
    const { checks } = examineRewards([...base, ...iteration(2, brief)], base);
    expect(alarmsOf(checks)).toEqual([]);
    expect(checkOf(checks, "length")).toMatchObject({ status: "fine", direction: -1, window: "last_iteration" });
    expect(checkOf(checks, "length")?.explained).toBeGreaterThan(0.9);
    expect(checkOf(checks, "tool_calls")).toMatchObject({ direction: -1 });
  });

  const wordy = (id: string, member: number): Made => ({ ...plain(id), says: chatter(id, 1 + member), reward: 0.5 + 0.05 * member });
  const busy = (id: string, member: number): Made => ({
    ...plain(id),
    tools: Array.from({ length: 1 + member }, () => ({ tool: "lookup" })),
    reward: 0.5 + 0.05 * member,
  });
  const refusing = (id: string, member: number): Made => ({
    ...plain(id),
    ...(member % 2 === 0 ? { says: "I'm sorry, but I can’t help with that.", reward: 0.9 } : { reward: 0.4 }),
  });
  const simulated = (id: string, member: number): Made => ({
    ...plain(id),
    tools: [{ tool: "lookup", rung: member % 2 === 0 ? "R5" : "R1" }],
    reward: member % 2 === 0 ? 0.3 : 0.7,
  });
  test.each([
    ["length", "long answers", wordy],
    ["tool_calls", "the same calls again and again", busy],
    ["refusal", "refusals", refusing],
    ["simulated_share", "real answers alone", simulated],
  ] as const)("%s fires where reward pays for %s", (suspicion, _, make) => {
    expect(alarmsOf(examineRewards([...base, ...iteration(2, make)], base).checks)).toContain(suspicion);
  });

  test("a goal that takes longer, and more calls, to reach is another outcome", () => {
    const reach = (id: string, member: number): Made =>
      member < 4
        ? { says: chatter(id, 1), tools: LOOK, reward: 0.2 }
        : { says: chatter(id, 9), tools: [...LOOK, { tool: "refund" }], state: "refunded", reward: 0.9 };
    expect(alarmsOf(examineRewards(iteration(2, reach), iteration(2, reach)).checks)).toEqual([]);
  });

  test("rewards that are noise fire nothing", () => {
    const { checks } = examineRewards([...base, ...iteration(2, plain)], base);
    expect(alarmsOf(checks)).toEqual([]);
    expect(checks.filter(({ status }) => status === "not_enough_data")).toEqual([]);
  });
});

test("the explained share by hand: rewards .2 .4 .6 in cells of lengths that follow them in all groups but one", () => {
  // Ten groups of three: within each, rewards −.2 0 .2 and calls −1 0 1; in one of the ten the calls run the other way.
  // Σxy = (9 − 1)·.4 = 3.2, Σx² = 10·.08 = .8, Σy² = 10·2 = 20: 3.2²/16 = .64.
  const calls = (id: string, member: number): Made => {
    const count = id.startsWith("2-0-") ? 3 - member : 1 + member;
    return { says: "done", tools: Array.from({ length: count }, () => ({ tool: "lookup" })), reward: 0.2 + 0.2 * member };
  };
  const members = Array.from({ length: 10 }, (_, index) => {
    const made = madeGroup(
      `2-${index}`,
      2,
      [0, 1, 2].map((member) => calls(`2-${index}-`, member)),
    );
    return featuresOf(made.group, made.rewards);
  }).flat();
  // Twenty comparisons are too few: twice the same groups under other names are enough, and explain the same.
  expect(checkOf(examineRewards(members, base).checks, "tool_calls")).toMatchObject({
    status: "not_enough_data",
    explained: null,
    comparisons: 20,
  });
  const twice = [...members, ...members.map((member) => ({ ...member, groupId: `${member.groupId}b` }))];
  const check = checkOf(examineRewards(twice, base).checks, "tool_calls");
  expect(check).toMatchObject({ status: "alarm", direction: 1, groups: 20, comparisons: 40 });
  expect(check?.explained).toBeCloseTo(0.64, 12);
});

test("few groups are not enough data, which is said for every suspicion", () => {
  const few = iteration(2, plain, 3);
  const { checks } = examineRewards(few, iteration(1, plain, 3));
  expect(checks.map(({ status }) => status)).toEqual(checks.map(() => "not_enough_data"));
  expect(checkOf(checks, "length")).toMatchObject({ groups: 3, comparisons: 21, needed: { groups: 10, comparisons: 30 } });
  expect(examineRewards([], []).checks).toHaveLength(6);
});

test("masked and unscored members are in nothing; recorded answers are not the policy's", () => {
  const { group } = madeGroup("g", 1, [plain("a"), plain("b"), { ...plain("c"), end: { status: "masked", cause: "infrastructure" } }]);
  expect(featuresOf(group, [0.5, null, 0.5]).map(({ member }) => member)).toEqual([0]);
  const recorded = [
    text("user", "hi"),
    text("assistant", "recorded long ago by somebody else"),
    text("user", "and"),
    text("assistant", "my own few words"),
  ];
  const call = {
    promptTokenIds: [],
    completionTokenIds: [],
    logprobs: [],
    finishReason: "stop",
    adapterDigest: "",
    sampling: { temperature: 1, topP: 1, topK: 0, minP: 0, seed: 1 },
  };
  const [own] = featuresOf({ ...group, members: [rollout(recorded, { calls: [call] })] }, [1]);
  expect(own?.values.length).toBe("my own few words".length);
  expect(own?.phrases).toHaveLength(2);
});
