import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { agentSchema } from "../../src/config-agent.ts";
import { silentLog } from "../../src/log.ts";
import type { ScoreOptions } from "../../src/reward/judge.ts";
import { UNMEASURED } from "../../src/rollout/cascade/trust.ts";
import { decodeGroup } from "../../src/rollout/encode-group.ts";
import type { Rollout, TrajectoryGroup } from "../../src/rollout/group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import { splitOf } from "../../src/scenario/split.ts";
import type { ChatMessage } from "../../src/serving/policy-server.ts";
import type { Database } from "../../src/store/database.ts";
import { textOf } from "../../src/trace/message.ts";
import { scenarioIdOf } from "../../src/trajectory/record-tape.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { loadGroups, type StoredGroup } from "../../src/training/iteration.ts";
import { stepsOfGroup } from "../../src/training/night-cuts.ts";
import type { NightDeps, NightOptions } from "../../src/training/night-context.ts";
import { rollOutAndJudge } from "../../src/training/night-rollouts.ts";
import { replayReport } from "../../src/training/replay-report.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { conversation, lookup, policyOf, refund, shopConfigs, type Step } from "../rollout/build.ts";
import { planOf, scenarioOf } from "../rollout/plan.ts";
import { createScriptedPolicy, type Move } from "../rollout/scripted-policy.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const DAY = 86_400_000;
const directory = mkdtempSync(join(tmpdir(), "nightshift-cuts-"));
const config = agentSchema.parse({
  ...{ model: "m", baseModel: "b", tenant: "acme", tools: shopConfigs },
  scenario: {
    quarantineMs: 0,
    minUsersPerCluster: 1,
    maxPerCluster: 99,
    heldOutShare: 0.05,
    heldOutClusterShare: 0,
    maxShareOfRunPerUser: 1,
  },
  replay: { minPredictedCoverage: 0, cutSteps: true },
  night: { iterations: 1, scenarios: 8, groupSize: 4, probe: { members: 0 } },
});
const users = Array.from({ length: 40 }, (_, index) => `p${index}`).filter(
  (one) => splitOf(one, { salt: "acme", heldOutShare: 0.05 }) === "train",
);
const talk = (kind: string, at: number, turns: readonly Step[] = [lookup(`A${at}`)]): Trajectory =>
  conversation(kind, turns, { startMs: at, user: users[at]!, says: `${kind} order A${at}` });
/** Nobody has ever refunded: what would have come of it, no tape tells. */
const talks = ["cut", "left", "early", "fine"].map((kind, at) => talk(kind, at));

/** What the policy does in a conversation of each kind: most members want what is on no tape. */
function script(messages: readonly ChatMessage[], random: { next(): number; integer(from: number, to: number): number }): Move {
  const asked = String(messages.find(({ role }) => role === "user")?.content);
  const at = Number(/A(\d)/.exec(asked)?.[1]);
  const turn = messages.filter(({ role }) => role === "assistant").length;
  const says: Move = { reply: `attempt ${random.integer(0, 1_000_000)}` };
  if (asked.startsWith("fine")) return turn === 0 ? { calls: [lookup(`A${at}`)] } : says;
  if (asked.startsWith("early")) return { calls: [refund(`A${at}`)] };
  // A tool that does not exist is answered, as the agent's own mistake: the recording has nothing from there on.
  if (asked.startsWith("left")) return turn === 0 ? { calls: [{ tool: "search", args: {} }] } : { calls: [refund(`A${at}`)] };
  return turn === 0 ? { calls: [lookup(`A${at}`)] } : { calls: [refund(`A${at}`)] };
}

let database: Database;
/** Groups that a judge was asked about, with what production did in its place. */
let judged: { id: string; anchor: string | null }[];
beforeAll(async () => {
  database = await memoryDatabase();
});
beforeEach(() => {
  judged = [];
});
afterAll(async () => {
  await database.close();
  rmSync(directory, { recursive: true });
});

async function night(runId: string, options: { dieAfter?: number; cutSteps?: boolean | undefined } = {}) {
  const { dieAfter = Number.POSITIVE_INFINITY, ...change } = options;
  const runs = createRunStore(database, () => DAY);
  if ((await runs.get(runId)) === null) await runs.create({ id: runId, tenant: "acme", agent: `shop of ${runId}`, plan: {}, nowMs: 1 });
  let isCutOver = false;
  const policy = createScriptedPolicy(({ messages }, random) =>
    isCutOver ? { reply: `step ${random.integer(0, 1_000_000)}` } : script(messages, random),
  );
  const nightOptions: NightOptions = {
    ...{
      runId,
      agent: `shop of ${runId}`,
      config: { ...config, replay: { ...config.replay, ...change } },
      runsDirectory: directory,
      signal: new AbortController().signal,
    },
  };
  const deps = {
    ...{ database, runs, log: silentLog(), now: () => DAY, artifacts: createFileArtifactStore({ dir: join(directory, "artifacts") }) },
    fleet: { policyServer: policy },
    judge: {
      score(group: TrajectoryGroup, { anchor = null }: ScoreOptions = {}) {
        if (judged.length >= dieAfter) throw new Error("killed");
        const last = anchor?.messages.at(-1);
        judged.push({ id: group.scenarioId, anchor: last === undefined ? null : textOf(last) });
        const rewards = group.members.map(({ end }, index) => (end.status === "masked" ? null : index / 4));
        const nothing = group.members.map(() => null);
        return Promise.resolve({
          status: "scored",
          spreads: nothing,
          anchor: null,
          rewards,
          explanations: nothing,
          provenance: {},
        } as never);
      },
    },
    judgeDeviation: () => Promise.resolve(null),
    rewardCheck: null,
    agentDriver: null,
  } as unknown as NightDeps;
  // What a step samples is told apart from what the same prompt gave before.
  deps.runs = {
    ...runs,
    step(run, name, work) {
      if (name.startsWith("steps-")) isCutOver = true;
      return runs.step(run, name, work);
    },
  };
  const recordings = createRecordings({ trajectories: talks, feedback: [], config, nowMs: DAY });
  const at = { iteration: 1, policy: { name: "m", digest: "sha256:base" }, recordings, trust: UNMEASURED, startedAtMs: DAY };
  const groups = await rollOutAndJudge(nightOptions, deps, at);
  const bodies = new Map<string, TrajectoryGroup>();
  for (const { scenarioId, bodyDigest } of groups) bodies.set(scenarioId, decodeGroup((await deps.artifacts.get(bodyDigest))!));
  return { groups, bodies, steps: await runs.steps(runId) };
}

const [cut, left, early, fine] = talks.map(scenarioIdOf) as [string, string, string, string];
const verdictsOf = (groups: readonly StoredGroup[]) =>
  Object.fromEntries(groups.map(({ scenarioId, summary }) => [scenarioId, summary.verdict]));

describe("a group that replay cut", () => {
  it("becomes a group of the next action where it was cut, held against what production did there", async () => {
    const { groups, bodies, steps } = await night("cuts");
    const step = `${cut}.1`;
    expect(verdictsOf(groups)).toEqual({
      [cut]: "replay_step_only",
      [left]: "replay_step_only",
      [early]: "replay_dropped",
      [fine]: "kept",
      [step]: "kept",
    });
    const whole = groups.find(({ scenarioId }) => scenarioId === cut);
    const made = bodies.get(step);
    const cutFrom = { group: whole?.id, reason: "step_only", members: 4 };
    expect(made?.played).toMatchObject({ mode: "step", modeReason: "replay_cut", cutFrom });
    for (const { messages, journal } of made?.members ?? []) {
      expect(messages.slice(0, -1).map(({ role }) => role)).toEqual(["system", "user", "assistant", "tool"]);
      expect([textOf(messages.at(-1)!), journal]).toEqual([expect.stringMatching(/^step \d+$/), []]);
    }
    expect(judged.filter(({ id }) => id === step)).toEqual([{ id: step, anchor: "Done." }]);
    expect(judged.filter(({ id }) => id === fine)).toEqual([{ id: fine, anchor: null }]);
    expect(steps.find(({ step: name }) => name === "cuts-1")?.output).toEqual({
      scenarioIds: [step],
      // "left" is one, too: its members had left the recording before, each of them.
      groups: { step_only: 2 },
      members: 4,
      notMade: { left_recording: 4, group_dropped: 4 },
    });
    expect(steps.find(({ step: name }) => name === "steps-1")?.output).toMatchObject({ groups: 1, kept: 1, modes: { step: 1 } });
  });

  it.each([undefined, false])(
    "is left as it is where steps are %s: nobody but an LLM is asked about steps unless told so",
    async (cutSteps) => {
      const { groups, steps } = await night(`whole-${cutSteps}`, { cutSteps });
      expect(Object.keys(verdictsOf(groups)).toSorted()).toEqual([cut, left, early, fine].toSorted());
      expect(steps.map(({ step }) => step)).not.toContain("cuts-1");
    },
  );

  it("is one, however often the night is killed: nothing is judged twice", async () => {
    const whole = await loadGroups(database, "cuts", 1);
    for (const dieAfter of [2, 4]) {
      const runId = `killed-${dieAfter}`;
      judged = [];
      await expect(night(runId, { dieAfter })).rejects.toThrow("killed");
      const first = judged;
      judged = [];
      const { groups } = await night(runId);
      expect(verdictsOf(groups)).toEqual(verdictsOf(whole));
      expect(judged.filter(({ id }) => first.some((one) => one.id === id))).toEqual([]);
    }
  });

  it("is in the shares of what failed, and its steps are not", async () => {
    const groups = await loadGroups(database, "cuts", 1);
    const clusters = new Map([cut, left, early, fine].map((id) => [id, id === cut ? "cut" : "other"]));
    const { iterations, clusters: shares } = replayReport({ groups, tools: [], clusters, limits: config.replay.alarms });
    expect(iterations).toMatchObject([{ groups: 4, members: 16, maskRate: 12 / 16, masked: { replay_miss: 12 } }]);
    // The step's tokens are its conversation's: 4 of 4 members' one token, beside 4 members with two calls of one token.
    expect(shares.find(({ cluster }) => cluster === "cut")).toEqual({ cluster: "cut", traffic: 0.25, tokens: 4 / 12 });
  });
});

describe("the steps of a group", () => {
  const recorded = conversation("long", [lookup("A1"), policyOf("lamp"), lookup("A2")], { says: "help with A1, A2 and a lamp" });
  const scenario = scenarioOf(recorded);
  const asked = [lookup("A1"), policyOf("lamp"), lookup("A2")];
  /** Members that want what no tape has at these calls, and that say and do what was recorded before it; null goes to the end. */
  const members = async (calls: readonly (number | null)[]): Promise<Rollout[]> => {
    const groups = calls.map(async (call) => {
      const policy = createScriptedPolicy(({ messages }) => {
        const turn = messages.filter(({ role }) => role === "assistant").length;
        const step = asked[turn];
        if (turn === call) return { calls: [refund("A1")] };
        return step === undefined ? { reply: "All is well." } : { calls: [step] };
      });
      return (await rolloutGroup(planOf(recorded, policy, { scenario, groupSize: 1 }))).members;
    });
    return (await Promise.all(groups)).flat();
  };
  const groupOf = (of: readonly Rollout[], decision: TrajectoryGroup["fidelity"]["decision"] = "step-only"): TrajectoryGroup =>
    ({ groupId: "g-1", members: of, fidelity: { decision } }) as unknown as TrajectoryGroup;
  const stepsFrom = (group: TrajectoryGroup, count: number, messages = recorded.messages) => {
    const { steps, notMade } = stepsOfGroup(group, { scenario, messages, reason: "step_only", count });
    return { calls: steps.map(({ pivot, cutFrom }) => [pivot?.call, cutFrom?.members]), notMade: Object.fromEntries(notMade), steps };
  };

  it("are where most members ended, in the order of the conversation, as many as the budget has", async () => {
    const group = groupOf(await members([2, 2, 1, 3, 3, 3, null]));
    expect(stepsFrom(group, 9)).toMatchObject({
      calls: [
        [1, 1],
        [2, 2],
        [3, 3],
      ],
      notMade: {},
    });
    expect(stepsFrom(group, 2)).toMatchObject({
      calls: [
        [2, 2],
        [3, 3],
      ],
      notMade: { over_budget: 1 },
    });
    expect(stepsFrom(group, 1)).toMatchObject({ calls: [[3, 3]], notMade: { over_budget: 3 } });
  });

  it("begin with the recorded messages before the call, and know what was answered there", async () => {
    const { steps } = stepsFrom(groupOf(await members([3])), 1);
    expect(steps).toEqual([
      {
        ...scenario,
        id: `${scenario.id}.3`,
        ...{ mode: "step", modeReason: "replay_cut", recordedCalls: 1 },
        start: { ...scenario.start, messages: recorded.messages.slice(0, -1), userTurns: [] },
        pivot: { call: 3, recorded: recorded.messages.at(-1) },
        cutFrom: { group: "g-1", reason: "step_only", members: 1 },
      },
    ]);
  });

  it("are at the first answer that was simulated, where there were too many of those", async () => {
    const [one] = await members([null]);
    const journal = one!.journal.map((entry, at) => (at === 0 ? entry : { ...entry, rung: "R5" as const }));
    const end = { status: "masked", cause: "simulated_share" } as const;
    expect(stepsFrom(groupOf([{ ...one!, journal, end }]), 9)).toMatchObject({ calls: [[1, 1]], notMade: {} });
  });

  it("are not made where nobody knows what came next in production", async () => {
    const [cutMember] = await members([2]);
    const none = (change: Partial<Rollout>, why: string, messages = recorded.messages) =>
      expect(stepsFrom(groupOf([{ ...cutMember!, ...change }]), 9, messages)).toMatchObject({ calls: [], notMade: { [why]: 1 } });
    // The recording ends before; its answer there is empty; the user had said something else.
    none({}, "no_continuation", [...recorded.messages.slice(0, 6), { role: "assistant", parts: [] }]);
    none({}, "left_recording", [
      recorded.messages[0]!,
      { role: "user", parts: [{ type: "text", content: "hi" }] },
      ...recorded.messages.slice(2),
    ]);
    // Another answer to the same call.
    const told = cutMember!.messages.map((one) =>
      one.role === "tool" ? { ...one, parts: [{ type: "tool_call_response" as const, id: "call_0_0", response: "?" }] } : one,
    );
    none({ messages: told }, "left_recording");
    none({ branches: 2 }, "unclear");
    none({ simulatedUserTurns: [{ message: 1, model: "u", promptHash: "h" }] }, "unclear");
    none({ journal: cutMember!.journal.slice(0, -1) }, "unclear");
    expect(stepsFrom(groupOf([cutMember!], "drop"), 9)).toMatchObject({ calls: [], notMade: { group_dropped: 1 } });
    for (const end of [{ status: "completed" }, { status: "masked", cause: "infrastructure" }] as const) {
      expect(stepsFrom(groupOf([{ ...cutMember!, end }]), 9)).toMatchObject({ calls: [], notMade: {} });
    }
  });
});
