import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { beforeAll, expect, test } from "vitest";
import { AGENT, quickstartConfig } from "../../deploy/quickstart/settings.ts";
import { parseConfig, type AgentConfig, type Config } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import type { TrajectoryGroup } from "../../src/rollout/group.ts";
import { createLimiter } from "../../src/limiter.ts";
import { loadRecordings } from "../../src/rollout/load-recordings.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import type { Recordings } from "../../src/rollout/recordings.ts";
import { selfReplay } from "../../src/rollout/replay-check.ts";
import { selectScenarios } from "../../src/scenario/select.ts";
import { startEmbeddedServer } from "../../src/serving/embedded.ts";
import { createVllm } from "../../src/serving/vllm.ts";
import { createPglite } from "../../src/store/pglite.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const DATA = join(ROOT, ".nightshift/quickstart/data");
const config = parseConfig(JSON.parse(JSON.stringify(quickstartConfig({ root: ROOT, dataDir: DATA, seed: 1, sabotage: null }))));
const agent = agentOf(config);

interface Played {
  success: { before: { of: number }; difference: number; interval95: [number, number] };
  funnel: { captured: number; complete: number; trainable: number; groups: { rolledOut: number; kept: number } };
  replayWrites: number;
  decision: string;
  adapter: { name: string };
  lineage: { conversations: number; adapters: { name: string }[] };
}

let played: Played;
let recordings: Recordings;

beforeAll(async () => {
  const args = [join(ROOT, "deploy/quickstart/quickstart.ts"), "--seed", "1", "--json"];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 64 * 1024 * 1024 });
  played = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Played;
  const database = await createPglite({ dir: join(DATA, "store"), log: silentLog() });
  recordings = await loadRecordings(database, { agent: AGENT, config: agent, nowMs: Date.now() });
  await database.close();
}, 900_000);

test("the loop runs to its decision, and the decision never contradicts what fresh customers show", () => {
  expect(played.success.before.of).toBeGreaterThanOrEqual(300);
  expect(["promoted", "refused", "expired", "rolled_back"]).toContain(played.decision);
  if (played.decision === "promoted") {
    expect(played.success.difference).toBeGreaterThanOrEqual(0);
    expect(played.lineage.conversations).toBeGreaterThan(0);
    expect(played.lineage.adapters[0]?.name).toBe(played.adapter.name);
  }
  expect(played.replayWrites).toBe(0);
  expect(played.funnel.groups.kept).toBeGreaterThanOrEqual(played.funnel.groups.rolledOut / 2);
  expect(played.funnel.trainable).toBe(played.funnel.complete);
});

test("every captured conversation replays byte for byte against its own tape", () => {
  expect(recordings.trajectories.length).toBeGreaterThan(300);
  const faults = recordings.trajectories.flatMap((trajectory) => {
    const { split } = recordings.walls.placeOf(trajectory);
    const check = selfReplay(trajectory, recordings.cascade(split));
    return check.equal === check.calls && check.unused === 0 ? [] : [{ key: trajectory.conversationKey, ...check }];
  });
  expect(faults).toEqual([]);
});

test("one seed over the same conversations gives the same groups, whatever runs beside them", async () => {
  const { train } = selectScenarios({ ...recordings.selection, count: 6, heldOutCount: 0, seed: 1 });
  const once = await rollOutAll(train, { runId: "one", concurrency: 64 });
  const again = await rollOutAll(train.toReversed(), { runId: "two", concurrency: 7 });
  expect(again.toReversed()).toEqual(once);
}, 300_000);

/** The groups' bytes without the ids of run, group and rollout. */
async function rollOutAll(
  scenarios: ReturnType<typeof selectScenarios>["train"],
  at: { runId: string; concurrency: number },
): Promise<string[]> {
  const options = { python: resolve(config.python), trainerDirectory: join(ROOT, "trainer"), model: resolve(agent.baseModel), port: 0 };
  const server = await startEmbeddedServer({ ...options, servedModelName: agent.model }, { log: silentLog() });
  const policyServer = createVllm({ url: server.url, timeoutMs: 60_000, connections: 128 });
  const limiter = createLimiter(at.concurrency);
  try {
    const groups = await Promise.all(
      scenarios.map((scenario) =>
        rolloutGroup({
          ...{ scenario, cascade: recordings.cascade("train"), policyServer, model: agent.model, adapterDigest: "base" },
          ...{ runId: at.runId, groupSize: agent.night.groupSize, runSeed: 1, iteration: 1, limiter },
          sampling: { temperature: 1, topP: 1, maxTokens: agent.sampling.maxTokens },
          limits: agent.replay,
        }),
      ),
    );
    return groups.map(withoutIds);
  } finally {
    await policyServer.close();
    await server.close();
  }
}

function withoutIds(group: TrajectoryGroup): string {
  const members = group.members.map((member) => ({ ...member, rolloutId: "" }));
  return new TextDecoder().decode(encodeGroup({ ...group, groupId: "", runId: "", members }));
}

function agentOf({ agents }: Config): AgentConfig {
  const found = agents[AGENT];
  if (found === undefined) throw new Error(`the quickstart's config has no agent ${AGENT}`);
  return found;
}
