import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunView } from "../../deploy/quickstart/control.ts";
import type { Started } from "../../deploy/quickstart/processes.ts";
import { silentLog } from "../../src/log.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { loadGroups, type StoredGroup } from "../../src/training/iteration.ts";
import { honestScores, startJudgeServer, type Behaviour, type JudgeServer } from "../reward/judge-server.ts";
import { servePatiently } from "./patient-crowd.ts";
import { killNow, until, watchChildren, type ChildWatch } from "./processes.ts";
import { createSmallShop, SMALL, type SmallShop, type UpReady } from "./small-shop.ts";

const NIGHT_LIMIT_MS = 180_000;

let site: SmallShop;
let up: Started<UpReady>;
let watch: ChildWatch;
let judge: JudgeServer;
let judging: "honest" | "refusing" | "nonsense" = "honest";

beforeAll(async () => {
  site = await createSmallShop({ contacts: 40, seed: 3 });
  watch = watchChildren(`train ${join(site.dataDir, "runs")}`);
  judge = await startJudgeServer((request): Behaviour => {
    if (judging === "refusing") return { status: 503, headers: { "retry-after": "1" } };
    return { text: judging === "honest" ? JSON.stringify({ scores: honestScores(request) }) : "I liked all of them, well done!" };
  });
  await site.configure(SMALL);
  up = await site.up();
  await site.configure(SMALL);
  const agent = await site.agent();
  const at = { agentUrl: agent.ready.url, shopUrl: site.shop.url, control: site.control(), name: "day", isOver: () => false };
  const served = await servePatiently(site.day.customers, at);
  await agent.stop();
  await until("the day is assembled", 60_000, async () => ((await site.control().status()).funnel.complete >= served ? true : null));
});

afterAll(async () => {
  await site?.close();
  await judge?.close();
  await watch?.stop();
});

/** The child of `up` whose command line has `part`; null while there is none. */
async function childWith(part: string): Promise<number | null> {
  return (await watch.childrenOf(up.child.pid ?? 0)).find(({ command }) => command.includes(part))?.pid ?? null;
}

function hasStarted(run: RunView, step: string): true | null {
  return run.steps.some((one) => one.step === step) ? true : null;
}

async function endOf(runId: string): Promise<RunView> {
  return until("the run ends", NIGHT_LIMIT_MS, async () => {
    const run = await site.control().run(runId);
    return run.state === "running" ? null : run;
  });
}

/** The groups of a run, read by the store's next owner. */
async function groupsOf(...runIds: string[]): Promise<StoredGroup[][]> {
  const database = await createPglite({ dir: join(site.dataDir, "store"), log: silentLog() });
  try {
    return await Promise.all(runIds.map((runId) => loadGroups(database, runId)));
  } finally {
    await database.close();
  }
}

test("a policy server that dies during rollouts and a trainer that dies in its step cost time, not the night", async () => {
  const runId = await site.control().startRun();
  const firstServer = await until("a policy server", 10_000, () => childWith("nightshift_trainer serve"));
  await until("rollouts begin", 60_000, async () => hasStarted(await site.control().run(runId), "groups-1"));
  process.kill(firstServer, "SIGKILL");

  const firstTrainer = await until(
    "the trainer learns",
    NIGHT_LIMIT_MS,
    async () => {
      if (hasStarted(await site.control().run(runId), "train-1") === null) return null;
      const status = JSON.parse(await readFile(join(site.dataDir, "runs", runId, "status.json"), "utf8")) as { phase: string };
      return status.phase === "training" ? childWith(`train ${join(site.dataDir, "runs")}`) : null;
    },
    20,
  );
  process.kill(firstTrainer, "SIGKILL");
  const secondTrainer = await until("another trainer", 30_000, () => childWith(`train ${join(site.dataDir, "runs")}`));

  const run = await endOf(runId);
  expect(run.outcome).toMatchObject({ kind: "candidate" });
  expect(secondTrainer).not.toBe(firstTrainer);
  expect(await childWith("nightshift_trainer serve")).not.toBe(firstServer);
  await up.stop();
  const [groups] = await groupsOf(runId);
  expect(new Set(groups?.map(({ iteration }) => iteration))).toEqual(new Set([1, 2]));
  for (const { summary } of groups ?? []) {
    expect(summary.masked).not.toHaveProperty("infrastructure");
    const masked = Object.values(summary.masked).reduce((sum, count) => sum + count, 0);
    expect(summary.rewards.filter((reward) => reward === null).length).toBeGreaterThanOrEqual(masked);
  }
});

test("a judge that answers nonsense, is down all night, or comes back never makes a zero", async () => {
  await site.configure({ ...SMALL, judge: { driver: "ruler", baseUrl: judge.url, model: "judge", timeoutMs: 5_000 } });
  up = await site.up();
  const night = async (behaviour: typeof judging, meanwhile?: () => Promise<unknown>): Promise<RunView> => {
    judging = behaviour;
    const runId = await site.control().startRun();
    await meanwhile?.();
    return endOf(runId);
  };
  const nonsense = await night("nonsense");
  const down = await night("refusing");
  const asked = judge.requests.length;
  const recovered = await night("refusing", async () => {
    await until("the judge was asked", NIGHT_LIMIT_MS, () => (judge.requests.length >= asked + 3 ? true : null));
    judging = "honest";
  });
  await killNow(up.child);

  expect(nonsense.outcome).toMatchObject({ kind: "nothing_to_learn" });
  expect(down.outcome).toMatchObject({ kind: "nothing_to_learn" });
  expect(["candidate", "nothing_to_learn"]).toContain(recovered.outcome?.kind);
  const [ofNonsense = [], ofDown = [], ofRecovered = []] = await groupsOf(nonsense.id, down.id, recovered.id);
  for (const [groups, verdict] of [
    [ofNonsense, "judge_reply_invalid"],
    [ofDown, "judge_unavailable"],
  ] as const) {
    expect(groups.map(({ summary }) => summary.verdict)).toContain(verdict);
    expect(groups.flatMap(({ summary }) => summary.rewards).filter((reward) => reward !== null)).toEqual([]);
  }
  expect(ofRecovered.flatMap(({ summary }) => summary.rewards).some((reward) => reward !== null)).toBe(true);
});
