import { afterEach, describe, expect, it } from "vitest";
import type { RunView } from "../../src/api/views.ts";
import { cli, stubApi, type StubApi } from "./terminal.ts";

let api: StubApi | null = null;
afterEach(async () => {
  await api?.close();
  api = null;
});

const long = "x".repeat(400);
const call = (tool: string, result: string | null, answered: unknown = null) => ({ tool, arguments: '{"id":"A1"}', result, answered });
const head = { groupId: "g1", runId: "r", iteration: 2, scenarioId: "s", trajectoryId: "t1", verdict: "kept" };
const rollout = {
  ...head,
  ...{ status: "rollout", members: 8, divergedAt: 1 },
  member: { index: 2, rolloutId: "ro", reward: 0.25, end: { status: "masked", cause: "replay_miss" }, callsByRung: { R1: 1, R7: 1 } },
  turns: [
    {
      ...{ turn: 0, difference: "same" },
      recorded: { user: "help", text: "", calls: [call("look", "here it is")] },
      rollout: {
        ...{ user: "help", text: "" },
        calls: [call("look", "here it is", { rung: "R1", confidence: 1, isError: false, servedFrom: { tape: "t1@1", entry: 0 } })],
      },
    },
    {
      ...{ turn: 1, difference: "calls" },
      recorded: { user: null, text: "Looking \u001b[31mred", calls: [call("look", long)] },
      rollout: {
        ...{ user: null, text: "" },
        calls: [
          call("refund", null, { rung: "R7", confidence: 0, isError: false }),
          call("look", "no", { rung: "R4", confidence: 0.914, isError: true, madeFrom: ["t2@1"] }),
        ],
      },
    },
    { turn: 2, difference: "only_recorded", recorded: { user: null, text: "Done.", calls: [] }, rollout: null },
  ],
};

describe("a member beside its recording", () => {
  const show = async (...args: string[]) => {
    api = await stubApi({ "POST /v1/replay/g1": rollout });
    return cli(["replay", "g1", "--member", "2", "--url", api.url, ...args]);
  };

  it("is told turn by turn, in 80 columns, with where every answer came from", async () => {
    const { code, out } = await show();
    expect(code).toBe(0);
    expect(api?.requests[0]?.line).toBe("POST /v1/replay/g1?member=2");
    expect(out).toBe(
      [
        "group      g1, kept",
        "recording  t1",
        "member     2 of 0 to 7",
        "end        masked: replay_miss",
        "reward     0.250",
        "diverged   at turn 1",
        "",
        "turn 0  as recorded",
        "  user: help",
        '  → look {"id":"A1"}',
        "  ← here it is",
        "    R1, confidence 1.00, entry 0 of t1@1",
        "",
        "turn 1  OTHER CALLS, here it diverges",
        "  recorded",
        "    says: Looking red",
        '    → look {"id":"A1"}',
        `    ← ${"x".repeat(71)}…`,
        "  rollout",
        '    → refund {"id":"A1"}',
        "    ← (no answer)",
        "      R7, confidence 0.00",
        '    → look {"id":"A1"}',
        "    ← no",
        "      R4, confidence 0.91, an error, made from t2@1",
        "",
        "turn 2  only in the recording",
        "  recorded",
        "    says: Done.",
      ].join("\n"),
    );
    expect(Math.max(...out.split("\n").map(({ length }) => length))).toBeLessThanOrEqual(80);
  });

  it("is told in full length where that is asked for, and as it came in JSON", async () => {
    expect((await show("--full")).out).toContain(long);
    await api?.close();
    expect(JSON.parse((await show("--json")).out)).toEqual(rollout);
  });

  it("is a number", async () => {
    const { code, err } = await cli(["replay", "g1", "--member", "two"]);
    expect(code).toBe(2);
    expect(err).toContain("--member two is not the number of a member");
  });
});

it("tells a group's fidelity and its members", async () => {
  const fidelity = {
    ...{ callsByRung: { R1: 3, R4: 1 }, coverage: 1, realShare: 0.75, simulatedShare: 0, divergenceStep: 2, divergenceDepth: 1.5 },
    ...{ stalenessMs: 5_400_000, weight: 0.8765, unmasked: 1, decision: "drop", reasons: ["few_unmasked", "masked_by_replay"] },
  };
  const cutFrom = { group: "g0", reason: "step_only", members: 3 };
  const played = { mode: "step", modeReason: "replay_cut", predictedCoverage: 0.9, cutFrom };
  const members = [
    { ...rollout.member, index: 0 },
    { index: 1, rolloutId: "b", reward: null, end: { status: "completed" }, callsByRung: {} },
  ];
  api = await stubApi({ "POST /v1/replay/g1": { ...head, status: "group", played, fidelity, members } });
  const { code, out } = await cli(["replay", "g1", "--url", api.url]);
  expect(code).toBe(0);
  expect(out).toMatch(/^fidelity {7}drop, few_unmasked, masked_by_replay$/m);
  expect(out).toMatch(
    /^played +step: replay had no honest answer after it; 3 members of group g0 ended there, which does not train: too few of its members have an honest end$/m,
  );
  expect(out).toMatch(/^left its tape {2}at call 2, 1\.5 calls to the end$/m);
  expect(out).toMatch(/^staleness {6}1\.5 h$/m);
  expect(out).toMatch(/^unmasked {7}1 of 2$/m);
  expect(out).toMatch(/^0 +0\.250 +masked: replay_miss +R1 1, R7 1$/m);
  expect(out).toMatch(/^1 +- +completed +no tool calls$/m);
});

it("shows a run's measured replay and its alarms", async () => {
  const bounds = { upperBound: 0.052, lowerBound: 0.001 };
  const replay: RunView["replay"] = {
    tools: [
      {
        ...{ tool: "refund", calls: 130, missed: 10 },
        rungs: [
          { rung: "R3", served: 100, wrong: 1, misjudged: 0, ...bounds, refused: true },
          { rung: "R4", served: 20, wrong: 2, misjudged: 2, ...bounds, refused: false },
        ],
        falseSuccess: { errors: 12, asSuccess: 2, upperBound: 0.4 },
      },
    ],
    report: {
      iterations: [
        {
          ...{ iteration: 1, groups: 4, members: 32, masked: { replay_miss: 12 }, maskRate: 0.375, calls: 10, offTape: 0.2 },
          maskRateByReward: { better: 0.25, worse: 0.5 },
          causes: [
            { cause: "skipped_write", members: 8, rate: 0.25, byReward: { better: 0, worse: 0.5 } },
            { cause: "replay_miss", members: 4, rate: 0.125, byReward: null },
          ],
        },
      ],
      ...{ simulatorCorrelated: null, clusters: [] },
      alarms: [{ alarm: "mask_rate", value: 0.375, limit: 0.3, where: "iteration 1" }],
    },
  };
  const run = { id: "r", agent: "a", state: "finished", startedAtMs: 0, finishedAtMs: 1, outcome: null, trainer: null };
  const body = {
    ...run,
    steps: [],
    iterations: [],
    gatePairs: { begun: 0, finished: 0 },
    replay,
    judgeSpending: [],
    judge: null,
    alarms: [],
    checks: null,
  };
  api = await stubApi({ "GET /v1/runs/r": body });
  const { out } = await cli(["runs", "show", "r", "--url", api.url]);
  expect(out).toContain("replay alarm: mask rate 37.5 % (limit 30.0 %), iteration 1");
  expect(out).toMatch(/^1 +37\.5 % +25\.0 % \/ 50\.0 % +20\.0 % +replay_miss 12$/m);
  expect(out).toMatch(/^1 +skipped_write +8 +25\.0 % +0\.0 % \/ 50\.0 %$/m);
  expect(out).toMatch(/^1 +replay_miss +4 +12\.5 % +-$/m);
  expect(out).toMatch(/^refund +R3 +100 +1 +5\.2 % +REFUSED$/m);
  expect(out).toMatch(/^refund +R4 +20 +2 +5\.2 % +false success 2 of 12$/m);
  expect(out).toMatch(/^refund +none +10 +of 130 calls$/m);
});
