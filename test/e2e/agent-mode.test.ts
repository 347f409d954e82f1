import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunView } from "../../deploy/quickstart/control.ts";
import type { Started } from "../../deploy/quickstart/processes.ts";
import { AGENT } from "../../deploy/quickstart/settings.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { silentLog } from "../../src/log.ts";
import { decodeGroup } from "../../src/rollout/encode-group.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { GROUPS_FILE, type GroupLine } from "../../src/training/batch.ts";
import { loadGroups } from "../../src/training/iteration.ts";
import { servePatiently } from "./patient-crowd.ts";
import { until } from "./processes.ts";
import { createSmallShop, ROOT, SMALL, type SmallShop, type UpReady } from "./small-shop.ts";

const SCENARIOS = 6;
const GROUP_SIZE = 4;
/** The quickstart's agent as it is started by hand, told by its own settings where its model and its tools are. */
const agent = {
  command: [process.execPath, "--disable-warning=ExperimentalWarning", join(ROOT, "deploy/quickstart/agent.ts")],
  env: { PORT: "{port}", SHOP_URL: "{toolsOrigin}", MODEL: AGENT },
  readyUrl: "http://127.0.0.1:{port}/health",
  request: {
    url: "http://127.0.0.1:{port}/conversations",
    body: { conversationId: "{conversationId}", userId: "{userId}", message: "{message}" },
  },
  // Nodes that start together on a busy machine take their time.
  ...{ timeoutMs: 90_000, concurrency: 4 },
};

let site: SmallShop;
let up: Started<UpReady>;
beforeAll(async () => {
  site = await createSmallShop({ contacts: 36, seed: 11 });
  const night = { ...(SMALL["night"] as object), iterations: 1, scenarios: SCENARIOS, groupSize: GROUP_SIZE };
  await site.configure({ ...SMALL, night, replay: { ...(SMALL["replay"] as object), agent } });
  up = await site.up();
});
afterAll(() => site?.close());

test("a night rolls the production agent itself out, and trains an adapter on what it sampled", async () => {
  const shopAgent = await site.agent();
  const control = site.control();
  const day = { agentUrl: shopAgent.ready.url, shopUrl: site.shop.url, control, name: "day", isOver: () => false };
  const served = await servePatiently(site.day.customers, day);
  await until("the day is assembled", 60_000, async () => ((await control.status()).funnel.complete >= served ? true : null));
  const before = { shop: site.shop.shop.counters(), captured: (await control.status()).funnel.captured };

  const runId = await control.startRun();
  const run = await until("the night ends", 300_000, async () => {
    const view = await control.run(runId);
    return view.state === "running" ? null : view;
  });
  expect(run.outcome?.kind === "candidate" ? "candidate" : run).toBe("candidate");

  // Nothing of the night has reached the shop, or came back as a conversation to learn from.
  expect(site.shop.shop.counters()).toEqual(before.shop);
  expect((await control.status()).funnel.captured).toBe(before.captured);
  await Promise.all([shopAgent.stop(), up.stop()]);
  await checkNight(run);
});

async function checkNight(run: RunView): Promise<void> {
  const database = await createPglite({ dir: join(site.dataDir, "store"), log: silentLog() });
  const artifacts = createFileArtifactStore({ dir: join(site.dataDir, "artifacts") });
  try {
    const stored = await loadGroups(database, run.id);
    // How many customers of the day may train is chance: who is not served well comes back.
    const chosen = Number(run.steps.find(({ step }) => step === "scenarios-1")?.output?.["scenarioIds"]);
    expect(chosen).toBeGreaterThanOrEqual(3);
    expect(stored).toHaveLength(chosen);
    const groups = await Promise.all(
      stored.map(async ({ bodyDigest }) => decodeGroup((await artifacts.get(bodyDigest)) ?? new Uint8Array())),
    );
    for (const { played, members } of groups) {
      expect(played).toMatchObject({ mode: "agent", modeReason: "agent_configured" });
      expect(members).toHaveLength(GROUP_SIZE);
      // Whatever replay or the policy made of it: the agent itself was there, and did its part.
      const agentFaults = members.flatMap(({ end }) => (end.status === "masked" && end.cause.startsWith("agent_") ? [end.cause] : []));
      expect(agentFaults).toEqual([]);
      expect(members.every(({ calls }) => calls.length > 0)).toBe(true);
    }
    const batch = await readFile(join(site.dataDir, "runs", run.id, "batch-1", GROUPS_FILE));
    const lines = gunzipSync(batch).toString("utf8").trim().split("\n");
    const trained = lines.map((line) => JSON.parse(line) as GroupLine);
    const kept = stored.filter(({ summary }) => summary.verdict === "kept").map(({ id }) => id);
    expect(trained.map(({ group_id: id }) => id)).toEqual(kept);
    for (const line of trained) {
      const sampled = groups.find(({ groupId }) => groupId === line.group_id);
      const ids = sampled?.members.map(({ calls }) => calls.map((call) => [call.promptTokenIds, call.completionTokenIds]));
      expect(line.members.map(({ calls }) => calls.map((call) => [call.prompt_token_ids, call.completion_token_ids]))).toEqual(ids);
    }
    const adapters = await database.kysely.selectFrom("adapters").select(["digest", "iteration"]).execute();
    expect(adapters).toEqual([{ digest: run.outcome?.adapterDigest, iteration: 1 }]);
  } finally {
    await database.close();
  }
}
