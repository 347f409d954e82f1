import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { agentSchema } from "../../src/config-agent.ts";
import { silentLog } from "../../src/log.ts";
import { decodeGroup, encodeGroup } from "../../src/rollout/encode-group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { UNMEASURED } from "../../src/rollout/cascade/trust.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import { splitOf } from "../../src/scenario/split.ts";
import type { ChatRequest } from "../../src/serving/policy-server.ts";
import type { Database } from "../../src/store/database.ts";
import { loadGroups, type StoredGroup } from "../../src/training/iteration.ts";
import type { NightDeps, NightOptions } from "../../src/training/night-context.ts";
import { probeCandidates, rollOutAndJudge } from "../../src/training/night-rollouts.ts";
import { asProbe, byProbe, probeVerdictOf, type ProbeVerdict } from "../../src/training/probe.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { scenarioHistory } from "../../src/training/scenario-history.ts";
import { conversation, lookup, shopConfigs } from "../rollout/build.ts";
import { planOf } from "../rollout/plan.ts";
import { createScriptedPolicy } from "../rollout/scripted-policy.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const noise = { minSpread: 0.05, judgeDeviation: 0.04 };

describe("probeVerdictOf", () => {
  it.each<[string, (number | null)[], string, ProbeVerdict]>([
    // Deviation of 0 and 0.2: 0.1.
    ["members that differ", [0, 0.2], "too_few_members", "probe_mixed"],
    // 0.05 is what the least spread asks for, 0.06 what the judge's own noise does.
    ["members that differ by no more than the judge from itself", [0, 0.1], "too_few_members", "probe_equal"],
    ["members that do not differ", [1, 1], "too_few_members", "probe_equal"],
    ["members of one text, which no judge is asked about", [null, null], "identical_members", "probe_equal"],
    ["a judge that was away", [null, null], "judge_unavailable", "probe_unclear"],
    ["a member that was masked", [0.5, null], "replay_dropped", "probe_unclear"],
  ])("%s", (_, rewards, verdict, expected) => {
    expect(probeVerdictOf({ rewards, verdict }, noise)).toBe(expected);
  });
});

it("byProbe brings mixed ones first and equal ones last, and drops nothing", () => {
  const probes = new Map<string, ProbeVerdict>([
    ["b", "probe_equal"],
    ["d", "probe_mixed"],
    ["e", "probe_unclear"],
  ]);
  expect(
    byProbe(
      ["a", "b", "c", "d", "e"].map((id) => ({ id })),
      probes,
    ).map(({ id }) => id),
  ).toEqual(["d", "a", "c", "e", "b"]);
});

describe("members of a probe", () => {
  const recorded = conversation("c", [lookup("A1")]);
  const policy = () => createScriptedPolicy((_, random) => ({ reply: `attempt ${random.integer(0, 1_000_000)}` }));
  it("are those of the full group: it plays the others, and its bytes are the same", async () => {
    const whole = policy();
    const expected = await rolloutGroup(planOf(recorded, whole, { groupSize: 5, iteration: 1 }));
    const small = asProbe(await rolloutGroup(planOf(recorded, policy(), { groupSize: 2, iteration: 1 })));
    expect(small).toMatchObject({ iteration: 0, members: expected.members.slice(0, 2) });
    expect(small.groupId).not.toBe(expected.groupId);
    const rest = policy();
    const played = decodeGroup(encodeGroup(small)).members;
    const group = await rolloutGroup(planOf(recorded, rest, { groupSize: 5, iteration: 1, played }));
    expect(Buffer.from(encodeGroup(group)).equals(encodeGroup(expected))).toBe(true);
    expect([whole.requests.length, rest.requests.length]).toEqual([5, 3]);
  });

  it("are played again in a group with other ids or seeds", async () => {
    const { members: played } = await rolloutGroup(planOf(recorded, policy(), { groupSize: 3, iteration: 1 }));
    for (const other of [{ iteration: 2 }, { runId: "run-2" }, { runSeed: 8 }]) {
      const server = policy();
      await rolloutGroup(planOf(recorded, server, { groupSize: 3, iteration: 1, played, ...other }));
      expect(server.requests).toHaveLength(3);
    }
  });
});

const directory = mkdtempSync(join(tmpdir(), "nightshift-probe-"));
const DAY = 86_400_000;
/** Half of the people ask for what the policy always does alike, half for what comes out differently from member to member. */
const people = Array.from({ length: 60 }, (_, index) => `p${index}`).filter(
  (one) => splitOf(one, { salt: "acme", heldOutShare: 0.05 }) === "train",
);
const talks = people
  .slice(0, 16)
  .map((user, index) =>
    conversation(user, [lookup(`A${index}`)], { startMs: index, user, says: `${index % 2 === 0 ? "sure" : "risky"} order A${index}` }),
  );
let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(async () => {
  await database.close();
  rmSync(directory, { recursive: true });
});

describe("a night", () => {
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
    night: { iterations: 1, scenarios: 8, groupSize: 4, probe: { members: 3, scenarios: 12 } },
  });
  let requests: ChatRequest[];
  let judged: string[];
  beforeEach(() => {
    [requests, judged] = [[], []];
  });

  /** `dieAfter` groups are judged before the process is gone. */
  const begin = async (runId: string, options: { dieAfter?: number; probe?: boolean } = {}) => {
    const { dieAfter = Number.POSITIVE_INFINITY, probe = true } = options;
    const runs = createRunStore(database, () => DAY);
    const policy = createScriptedPolicy(({ messages }, random) => {
      const isRisky = JSON.stringify(messages).includes("risky");
      return { reply: isRisky ? `attempt ${random.integer(0, 1_000_000)}` : "done" };
    });
    const night = probe ? config.night : { ...config.night, probe: { ...config.night.probe, members: 0 } };
    const nightOptions: NightOptions = {
      ...{ runId, agent: `shop of ${runId}`, config: { ...config, night }, runsDirectory: directory, signal: new AbortController().signal },
    };
    const deps = {
      ...{ database, runs, log: silentLog(), now: () => DAY, artifacts: createFileArtifactStore({ dir: join(directory, "artifacts") }) },
      fleet: {
        policyServer: { ...policy, chat: (request: ChatRequest) => (requests.push(request), policy.chat(request)) },
      },
      judge: {
        score(group: { members: readonly { messages: readonly unknown[] }[]; scenarioId: string; iteration: number }) {
          if (judged.length >= dieAfter) throw new Error("killed");
          judged.push(`${group.iteration} ${group.scenarioId}`);
          const texts = group.members.map(({ messages }) => JSON.stringify(messages.at(-1)));
          const rewards = texts.map((text) => texts.indexOf(text) / texts.length);
          return Promise.resolve({
            status: "scored",
            spreads: [],
            anchor: null,
            rewards,
            explanations: texts.map(() => ""),
            provenance: {},
          } as never);
        },
      },
      judgeDeviation: () => Promise.resolve(null),
      rewardCheck: null,
      agentDriver: null,
    } as unknown as NightDeps;
    const recordings = createRecordings({ trajectories: talks, feedback: [], config, nowMs: DAY });
    return {
      runs,
      deps,
      options: nightOptions,
      at: { policy: { name: "m", digest: "sha256:base" }, recordings, trust: UNMEASURED, startedAtMs: DAY },
    };
  };
  const play = async (runId: string, options: { dieAfter?: number; probe?: boolean } = {}): Promise<StoredGroup[]> => {
    const night = await begin(runId, options);
    await probeCandidates(night.options, night.deps, night.at);
    return rollOutAndJudge(night.options, night.deps, { ...night.at, iteration: 1 });
  };
  const create = async (runId: string): Promise<void> =>
    (await begin(runId)).runs.create({ id: runId, tenant: "acme", agent: `shop of ${runId}`, plan: {}, nowMs: 1 });
  const requestsOfMembers = (): number =>
    new Set(requests.map(({ sampling, messages }) => `${sampling.seed} ${JSON.stringify(messages)}`)).size;

  it("plays small groups first and spends its full ones on what came out differently", async () => {
    await create("probed");
    const groups = await play("probed");
    const probes = await loadGroups(database, "probed", 0);
    expect(probes.map(({ summary }) => summary.verdict).toSorted()).toEqual([
      ...Array<string>(probes.length - probes.filter(({ summary }) => summary.verdict === "probe_mixed").length).fill("probe_equal"),
      ...Array<string>(probes.filter(({ summary }) => summary.verdict === "probe_mixed").length).fill("probe_mixed"),
    ]);
    expect(probes).toHaveLength(12);
    const mixed = probes.filter(({ summary }) => summary.verdict === "probe_mixed").map(({ scenarioId }) => scenarioId);
    expect(mixed.length).toBeGreaterThan(3);
    expect(groups.map(({ scenarioId }) => scenarioId)).toEqual(expect.arrayContaining(mixed));
    await create("unprobed");
    const before = await play("unprobed", { probe: false });
    const kept = (of: readonly StoredGroup[]): number => of.filter(({ summary }) => summary.verdict === "kept").length;
    expect(kept(groups)).toBeGreaterThan(kept(before));
    // A probe says something of its own night only.
    expect([...(await scenarioHistory(database, "shop of probed")).keys()].toSorted()).toEqual(
      groups.map(({ scenarioId }) => scenarioId).toSorted(),
    );
  }, 60_000);

  it("plays no member twice", async () => {
    await create("once");
    const groups = await play("once");
    const probes = await loadGroups(database, "once", 0);
    const both = groups.filter(({ scenarioId }) => probes.some((probe) => probe.scenarioId === scenarioId));
    expect(both.length).toBeGreaterThan(4);
    // One call a member: 3 of each probe, 4 of each group less the 3 that it has.
    expect(requests).toHaveLength(probes.length * 3 + groups.length * 4 - both.length * 3);
    expect(requestsOfMembers()).toBe(requests.length);
  }, 60_000);

  it.each([1, 13])(
    "killed after %i judged groups, judges none again and ends the same",
    async (dieAfter) => {
      const known = await loadGroups(database, "probed", 1);
      const outcome = (groups: readonly StoredGroup[]) => new Map(groups.map(({ scenarioId, summary }) => [scenarioId, summary.rewards]));
      const killed = `killed-${dieAfter}`;
      await create(killed);
      await expect(play(killed, { dieAfter })).rejects.toThrow("killed");
      const first = judged;
      judged = [];
      expect(outcome(await play(killed))).toEqual(outcome(known));
      expect(judged.filter((one) => first.includes(one))).toEqual([]);
    },
    60_000,
  );

  it("probes nothing where there is nothing to choose from", async () => {
    await create("few");
    const night = await begin("few");
    const recordings = createRecordings({ trajectories: talks.slice(0, 6), feedback: [], config, nowMs: DAY });
    await probeCandidates(night.options, night.deps, { ...night.at, recordings });
    expect(requests).toEqual([]);
    expect((await night.runs.steps("few")).map(({ step }) => step)).toEqual(["candidates"]);
  });
});
