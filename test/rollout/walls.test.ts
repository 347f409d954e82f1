import { describe, expect, it } from "vitest";
import { agentSchema } from "../../src/config-agent.ts";
import { createRecordings, type Recordings } from "../../src/rollout/recordings.ts";
import { emptyOverlay, stateOf, withEpochs } from "../../src/rollout/cascade/overlay.ts";
import { withEras } from "../../src/trajectory/era.ts";
import { learnProfiles } from "../../src/trajectory/learn-profiles.ts";
import { tapeOf } from "../../src/trajectory/record-tape.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { cascadeFor, conversation, lookup, notFound, play, policyOf, refund, refundFails, shopConfigs, type Step } from "./build.ts";

const DAY = 86_400_000;
const body = (step: Step): string => JSON.stringify(step.result);
const skipped = (id: string, startMs: number): Trajectory => conversation(id, [policyOf("lamp")], { startMs, says: "order A1 please" });

/** As a night makes them, of people who all train. */
function recordingsOf(
  trajectories: readonly Trajectory[],
  options: { others?: readonly Trajectory[]; nowMs?: number; quarantineMs?: number } = {},
): Recordings {
  const config = agentSchema.parse({
    model: "m",
    baseModel: "b",
    tools: shopConfigs,
    scenario: { quarantineMs: options.quarantineMs ?? 0, heldOutShare: 0.05 },
  });
  return createRecordings({ trajectories, others: options.others ?? [], feedback: [], config, nowMs: options.nowMs ?? 100 * DAY });
}

describe("people of different conversations", () => {
  const find = (email: string, customer: string): Step => ({
    tool: "find_customer",
    args: { email },
    result: { email, customer_id: customer },
  });
  const tools = [...(conversation("x", []).tools ?? []), { name: "find_customer", parameters: { type: "object" } }];
  const configs = {
    ...shopConfigs,
    find_customer: { ...shopConfigs["lookup_order"]!, argumentRoles: { email: "key" as const }, entityPaths: ["person:{email}"] },
  };
  const mine = (pseudonyms?: Trajectory["pseudonyms"]) =>
    conversation("mine", [policyOf("lamp")], {
      startMs: 3 * DAY,
      says: "I am <email_1>",
      tools,
      overrides: pseudonyms === undefined ? {} : { pseudonyms },
    });
  const other = (step: Step, pseudonyms?: Trajectory["pseudonyms"]) =>
    conversation("other", [step], { startMs: 2 * DAY, tools, overrides: pseudonyms === undefined ? {} : { pseudonyms } });
  const asked = { tool: "find_customer", args: { email: "<email_1>" } };

  it("are not taken for one another because both are number 1", () => {
    const cascade = cascadeFor(
      [mine({ "<email_1>": "<email_aaaaaaaa>" }), other(find("<email_1>", "C2"), { "<email_1>": "<email_bbbbbbbb>" })],
      { configs },
    );
    expect(play(cascade, mine({ "<email_1>": "<email_aaaaaaaa>" }), [asked])[0]?.rung).not.toBe("R3");
  });

  it("nor where their pseudonyms were not kept", () => {
    const cascade = cascadeFor([mine(), other(find("<email_1>", "C2"))], { configs });
    expect(play(cascade, mine(), [asked])[0]?.rung).not.toBe("R3");
  });

  it("are known again under another number, and who is new gets one that no other has", () => {
    const same = { ...find("<email_4>", "C1"), result: { email: "<email_4>", customer_id: "C1", partner: "<email_1>" } };
    const known = { "<email_1>": "<email_aaaaaaaa>", "<email_2>": "<email_cccccccc>" };
    const cascade = cascadeFor([mine(known), other(same, { "<email_4>": "<email_aaaaaaaa>", "<email_1>": "<email_bbbbbbbb>" })], {
      configs,
    });
    const [answer, again] = play(cascade, mine(known), [asked, asked]);
    expect(answer?.rung).toBe("R3");
    expect(answer?.result).toMatch(/^\{"email":"<email_1>","customer_id":"C1","partner":"<email_\d{5,6}>"\}$/);
    expect(again?.result).toBe(answer?.result);
    const partner = /partner":"(<email_\d+>)"/.exec(answer?.result ?? "")?.[1];
    expect(Object.keys(known)).not.toContain(partner);
  });

  it("come back in the own tape's answers as they were recorded", () => {
    const told = conversation("told", [find("<email_1>", "C1")], { tools, overrides: { pseudonyms: { "<email_1>": "<email_aaaaaaaa>" } } });
    expect(play(cascadeFor([told], { configs }), told, [asked])[0]).toMatchObject({ rung: "R1", result: body(find("<email_1>", "C1")) });
  });
});

describe("writes of others", () => {
  const asked = conversation("asked", [lookup("A1")], { startMs: 1 * DAY });
  const mine = skipped("mine", 3 * DAY);
  const refunding = conversation("refunding", [refund("A1")], { startMs: 2 * DAY });
  const untrainable = { ...refunding, verdict: { trainable: false, reasons: ["tool_definitions_missing" as const] } };
  const rungOf = (recordings: Recordings): string | undefined => play(recordings.cascade("train"), mine, [lookup("A1")])[0]?.rung;

  it("part the time before from the time after", () => expect(rungOf(recordingsOf([asked, mine]))).toBe("R3"));
  it.each([
    ["an untrainable conversation", recordingsOf([asked, mine, untrainable])],
    ["another agent", recordingsOf([asked, mine], { others: [{ ...refunding, agent: "back-office" }] })],
  ])("by %s, too", (_, recordings) => expect(rungOf(recordings)).toBe("R7"));

  it("are counted once where branches of a conversation share them", () => {
    const branch = (id: string, ...more: Step[]): Trajectory =>
      conversation(id, [refund("A1"), ...more], {
        startMs: 2 * DAY,
        overrides: { toolTimings: refunding.toolTimings, conversationId: "refunding" },
      });
    const late = conversation("late", [lookup("A1", "delivered", true)], { startMs: 3 * DAY });
    const trajectories = [branch("fork 1"), branch("fork 2", lookup("A1", "delivered", true)), late];
    const profiles = learnProfiles(shopConfigs, trajectories);
    const tapes = withEras(trajectories.map((one) => tapeOf(one, { profiles, split: "train" })));
    const eras = tapes.flatMap(({ entries }) => entries.filter(({ writeKey }) => writeKey === null).map(({ entityEra }) => entityEra));
    expect(eras).toEqual([{ "order:A1": 1 }, { "order:A1": 1 }]);
  });
});

describe("what is in quarantine", () => {
  const young = conversation("young", [lookup("A1")], { startMs: 9 * DAY });
  const mine = skipped("mine", 3 * DAY);
  const cascade = recordingsOf([young, mine], { nowMs: 10 * DAY, quarantineMs: 2 * DAY }).cascade("train");

  it("answers no other conversation", () => expect(play(cascade, mine, [lookup("A1")])[0]?.rung).toBe("R7"));
  it("answers its own", () => expect(play(cascade, young, [lookup("A1")])[0]?.rung).toBe("R1"));
  it("answers when it is over", () => {
    const later = recordingsOf([young, mine], { nowMs: 12 * DAY, quarantineMs: 2 * DAY }).cascade("train");
    expect(play(later, mine, [lookup("A1")])[0]?.rung).toBe("R3");
  });
});

describe("a tool under another schema", () => {
  const older = (conversation("x", []).tools ?? []).map((tool) => ({ ...tool, parameters: { ...tool.parameters, title: "v1" } }));
  const mine = skipped("mine", 3 * DAY);

  it.each([
    ["shows no state", [conversation("other", [lookup("A1")], { startMs: 1 * DAY, tools: older })], lookup("A1"), "R7"],
    [
      "lends no error text",
      [conversation("other", [notFound("A9")], { startMs: 1 * DAY, tools: older })],
      lookup("A8"),
      '{"error":"not found"}',
    ],
    [
      "teaches no write",
      [1, 2, 3].map((n) => conversation(`o${n}`, [refund(`B${n}`)], { startMs: n * DAY, tools: older })),
      refund("A1"),
      "R7",
    ],
  ])("%s", (_, others, call, expected) => {
    const [answer] = play(cascadeFor([mine, ...others]), mine, [call]);
    expect(expected.startsWith("R") ? answer?.rung : answer?.result).toBe(expected);
  });
});

describe("an answer that was cut off", () => {
  const cut = { ...refund("B1"), result: '{"order_id":"B1","refun' };
  const mine = skipped("mine", 3 * DAY);
  const other = conversation("other", [cut], { startMs: 1 * DAY });

  it("is no model for other answers", () => expect(play(cascadeFor([mine, other]), mine, [refund("A1")])[0]?.rung).toBe("R7"));
  it.each([['[{"id": 1}, {"id"'], ["line 1\nline 2 ... [output truncated]"], ['{"a": "b… (truncated, 3.2 kB)']])(
    "is not served to others: %s",
    (result) => {
      const seen = conversation("seen", [{ ...lookup("A1"), result }], { startMs: 2 * DAY });
      expect(play(cascadeFor([mine, seen]), mine, [lookup("A1")])[0]?.rung).toBe("R7");
      expect(play(cascadeFor([mine, seen]), seen, [lookup("A1")])[0]).toMatchObject({ rung: "R1", result });
    },
  );
});

it("what the rollout was shown of others is part of its state", () => {
  const shown = withEpochs(emptyOverlay(), { "order:A1": 1 });
  expect(stateOf(shown)).not.toBe(stateOf(emptyOverlay()));
  expect(stateOf(withEpochs(emptyOverlay(), { "order:A1": 0 }))).toBe(stateOf(emptyOverlay()));
});

it("a refund that failed for somebody else's state is decided by what is known of this one", () => {
  const failed = [1, 2, 3].map((n) => conversation(`f${n}`, [lookup(`B${n}`, "shipped"), refundFails(`B${n}`)], { startMs: n * DAY }));
  const done = [4, 5, 6].map((n) => conversation(`d${n}`, [lookup(`B${n}`), refund(`B${n}`)], { startMs: n * DAY }));
  const mine = conversation("mine", [lookup("A1", "shipped")], { startMs: 9 * DAY });
  const [, answer] = play(cascadeFor([mine, ...failed, ...done]), mine, [lookup("A1"), refund("A1")]);
  expect(answer).toMatchObject({ rung: "R4", isError: true, result: body(refundFails("A1")) });
});
