import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/config.ts";
import type { ToolFidelity } from "../../src/rollout/measure/measure.ts";
import { replayReport, type ReportedGroup } from "../../src/training/replay-report.ts";

const limits = parseConfig({ agents: { a: { model: "m", baseModel: "b" } } }).agents["a"]?.replay.alarms;
if (limits === undefined) throw new Error("the config has its agent");

let ids = 0;
function group(change: Partial<ReportedGroup["summary"]> & { iteration?: number; scenarioId?: string } = {}): ReportedGroup {
  const { iteration = 1, scenarioId = "s", ...summary } = change;
  const plain = { verdict: "kept", mean: 0.5, members: 8, masked: {}, callsByRung: {}, completionTokens: 10 };
  return { id: `g${(ids += 1)}`, iteration, scenarioId, summary: { ...plain, ...summary } };
}
const times = (count: number, change: Parameters<typeof group>[0]): ReportedGroup[] => Array.from({ length: count }, () => group(change));
const report = (groups: readonly ReportedGroup[], more: { clusters?: Map<string, string>; tools?: ToolFidelity[] } = {}) =>
  replayReport({ groups, tools: [], clusters: new Map(), limits, ...more });

describe("replayReport", () => {
  it("counts by hand", () => {
    const groups = [
      group({ mean: 0.9, masked: { replay_miss: 2 }, callsByRung: { R1: 6, R4: 1, R7: 2 } }),
      group({ mean: 0.7, masked: { replay_miss: 1, simulated_share: 1 } }),
      group({ mean: 0.5, masked: { infrastructure: 4 } }),
      group({ mean: 0.2, callsByRung: { R1: 2, agent_error: 1 } }),
      group({ mean: null, verdict: "judge_unavailable", masked: { replay_miss: 6 } }),
      group({ mean: 0.1, iteration: 2 }),
    ];
    expect(report(groups).iterations).toEqual([
      {
        ...{ iteration: 1, groups: 5, members: 40, calls: 12, offTape: 0.25 },
        masked: { replay_miss: 9, simulated_share: 1, infrastructure: 4 },
        maskRate: 14 / 40,
        maskRateByReward: { better: 4 / 16, worse: 4 / 16 },
        causes: [
          { cause: "replay_miss", members: 9, rate: 9 / 40, byReward: { better: 3 / 16, worse: 0 } },
          { cause: "infrastructure", members: 4, rate: 4 / 40, byReward: { better: 0, worse: 4 / 16 } },
          { cause: "simulated_share", members: 1, rate: 1 / 40, byReward: { better: 1 / 16, worse: 0 } },
        ],
      },
      { iteration: 2, groups: 1, members: 8, calls: 0, offTape: null, masked: {}, maskRate: 0, maskRateByReward: null, causes: [] },
    ]);
  });

  it("compares a task's share of the traffic with its share of the tokens that train", () => {
    const clusters = new Map([1, 2, 3, 4].map((id) => [`s${id}`, id === 4 ? "rare" : "common"]));
    const groups = [
      group({ scenarioId: "s1", completionTokens: 30 }),
      group({ scenarioId: "s4", completionTokens: 70 }),
      group({ scenarioId: "s2", verdict: "equal_rewards", completionTokens: 500 }),
    ];
    expect(report(groups, { clusters }).clusters).toEqual([
      { cluster: "common", traffic: 0.75, tokens: 0.3 },
      { cluster: "rare", traffic: 0.25, tokens: 0.7 },
    ]);
  });

  const write = (errors: number, asSuccess: number): ToolFidelity => ({
    ...{ tool: "refund", calls: errors, missed: 0, rungs: [] },
    falseSuccess: { errors, asSuccess, upperBound: 1 },
  });
  it.each([
    { what: "many masked", groups: times(4, { masked: { replay_miss: 3 } }), alarms: ["mask_rate"] },
    { what: "many masked of few", groups: times(2, { masked: { replay_miss: 3 } }), alarms: [] },
    {
      what: "masked where rewards are good",
      groups: [...times(3, { mean: 0.9, masked: { replay_miss: 2 } }), ...times(3, { mean: 0.1 })],
      alarms: ["mask_gap"],
    },
    {
      what: "an agent that fails now and then",
      groups: times(5, { masked: { agent_failed: 1, skipped_write: 1 } }),
      alarms: ["agent_faults"],
    },
    { what: "an agent that fails once", groups: [...times(4, {}), ...times(1, { masked: { unsupported_request: 2 } })], alarms: [] },
    {
      what: "two causes that pull against each other",
      groups: [...times(3, { mean: 0.9, masked: { replay_miss: 2 } }), ...times(3, { mean: 0.1, masked: { agent_timeout: 2 } })],
      alarms: ["agent_faults", "mask_gap", "mask_gap"],
    },
    {
      what: "a policy that leaves its tapes",
      groups: [
        ...times(3, { callsByRung: { R1: 9, R7: 1 } }),
        ...times(1, { iteration: 2, callsByRung: { R7: 19 } }),
        ...times(3, { iteration: 3, callsByRung: { R1: 7, R5: 3 } }),
      ],
      alarms: ["off_tape_rise"],
    },
    {
      what: "one task alone",
      groups: times(5, { scenarioId: "s1" }),
      clusters: new Map([
        ["s1", "one"],
        ["s2", "two"],
      ]),
      alarms: ["cluster_gap", "cluster_gap"],
    },
    {
      what: "rewards that follow the simulator",
      groups: [...times(3, {}), ...times(2, { verdict: "simulator_correlated_reward" }), ...times(9, { verdict: "equal_rewards" })],
      alarms: ["simulator_correlated"],
    },
    { what: "errors answered with success", groups: [], tools: [write(10, 2)], alarms: ["false_success"] },
    { what: "as many as are allowed", groups: [], tools: [write(10, 1)], alarms: [] },
    { what: "a quiet night", groups: [...times(6, {}), ...times(6, { iteration: 2 })], alarms: [] },
  ])("raises $alarms for $what", ({ groups, alarms, ...more }) => {
    expect(report(groups, more).alarms.map(({ alarm }) => alarm)).toEqual(alarms);
    expect(report(groups.toReversed(), more)).toEqual(report(groups, more));
  });

  it("says what was measured against which limit", () => {
    expect(report(times(4, { masked: { replay_miss: 3 } })).alarms).toEqual([
      { alarm: "mask_rate", value: 0.375, limit: 0.3, where: "iteration 1" },
    ]);
  });

  it("names the cause of a gap, and what the agent's own process lost", () => {
    const groups = [...times(3, { mean: 0.9, masked: { skipped_write: 2 } }), ...times(3, { mean: 0.1, masked: { agent_timeout: 1 } })];
    // 6 and 3 of 48 members; 6 of 24 in the better half.
    expect(report(groups).alarms).toEqual([
      { alarm: "agent_faults", value: 9 / 48, limit: 0.1, where: "iteration 1: skipped_write 6, agent_timeout 3" },
      { alarm: "mask_gap", value: 0.25, limit: 0.2, where: "iteration 1: skipped_write" },
    ]);
  });

  it("tells a gap that only all causes together make", () => {
    const masked = { replay_miss: 1, simulated_share: 1 };
    const groups = [...times(3, { mean: 0.9, masked }), ...times(3, { mean: 0.1 })];
    expect(report(groups).alarms).toEqual([{ alarm: "mask_gap", value: 0.25, limit: 0.2, where: "iteration 1" }]);
  });
});
