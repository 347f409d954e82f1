import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { startControl } from "../../src/app/control.ts";
import { createStarted } from "../../src/app/started.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const dataDir = mkdtempSync(join(tmpdir(), "nightshift-moved-"));
const database = await memoryDatabase();
afterAll(async () => {
  await database.close();
  rmSync(dataDir, { recursive: true });
});

/** Resolves to why it did not start: the agent has no model, which is looked at last. */
async function start(tenant: string): Promise<unknown> {
  const agents = { desk: { tenant, model: "desk", baseModel: join(dataDir, "none") } };
  const config = parseConfig({ dataDir, api: { port: 0 }, tenants: { north: {}, south: {} }, agents });
  const started = createStarted({ log: silentLog() });
  const election = { name: "this", campaign: () => undefined, isLeader: () => false, close: () => Promise.resolve() };
  const artifacts = createFileArtifactStore({ dir: join(dataDir, "artifacts") });
  const deps = { database, artifacts, election, log: silentLog(), env: {}, now: () => 0, monotonicMs: () => 0 };
  const refusal = await startControl(config, { gatewayGraceMs: 0 }, deps, started).catch((error: unknown) => error);
  await started.end();
  return refusal;
}

test("what was learned under an agent's slug stays with the tenant that taught it: the slug of another tenant's agent is refused", async () => {
  expect(await start("north")).toMatchObject({
    code: "config_invalid",
    message: expect.stringContaining("agents.desk.baseModel") as unknown,
  });
  expect(await start("south")).toMatchObject({
    code: "agent_moved",
    message: "agent desk is tenant south's in the config, what was learned under this name is tenant north's",
  });
  expect(await start("north")).toMatchObject({ code: "config_invalid" });
});
