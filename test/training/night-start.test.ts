import { mkdtempSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { loadSigningKey } from "../../src/artifact/signing-key.ts";
import { parseConfig } from "../../src/config.ts";
import { nightshiftError, type ErrorCode } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import { registerAdapter } from "../../src/training/adapters.ts";
import type { NightDeps, NightOptions } from "../../src/training/night-context.ts";
import { prepareRun } from "../../src/training/night-start.ts";
import { runNight } from "../../src/training/night.ts";
import type { RunStore } from "../../src/training/run-store.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const home = mkdtempSync(join(tmpdir(), "nightshift-night-"));
afterAll(() => rm(home, { recursive: true }));

function optionsOf(): NightOptions {
  const config = parseConfig({ agents: { shop: { model: "m", baseModel: "/models/base" } } }).agents["shop"];
  if (config === undefined) throw new Error("no such agent");
  return { runId: "run-1", agent: "shop", config, runsDirectory: home, signal: new AbortController().signal };
}

test("the adapter that a night starts from becomes part of its run directory; killed before the step was noted, it is prepared again", async () => {
  const database = await memoryDatabase();
  const artifacts = createFileArtifactStore({ dir: join(home, "artifacts") });
  const trained = join(home, "trained");
  await mkdir(trained);
  await writeFile(join(trained, "adapter_config.json"), "{}");
  await writeFile(join(trained, "adapter_model.safetensors"), "weights");
  const origin = { directory: trained, tenant: "default", agent: "shop", runId: "run-0", iteration: 1, rank: 4, nowMs: 0 };
  const lineage = { baseDigest: `sha256:${"0".repeat(64)}` as const, parentDigest: null, lineage: new Uint8Array() };
  const adapter = await registerAdapter({ ...origin, ...lineage }, { database, artifacts, key: loadSigningKey(join(home, "keys")) });
  const stable = { name: adapter.name, digest: adapter.digest, adapter };
  const steps = { step: (_run: string, _step: string, work: () => Promise<unknown>) => work() } as unknown as RunStore;
  const deps = {
    artifacts,
    runs: steps,
    fleet: { stable: () => Promise.resolve(stable), baseDigest: lineage.baseDigest },
  } as unknown as NightDeps;
  const directory = join(home, "run-1");
  for (let time = 0; time < 2; time += 1) {
    expect(await prepareRun(optionsOf(), deps, directory)).toMatchObject({ name: adapter.name, adapterDigest: adapter.digest });
    expect(JSON.parse(await readFile(join(directory, "run.json"), "utf8"))).toMatchObject({
      start_adapter: { path: "start-adapter", digest: adapter.digest },
      base_model: { path: "/models/base" },
    });
    expect((await readdir(join(directory, "start-adapter"))).toSorted()).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
      "manifest.json",
    ]);
    expect(await readFile(join(directory, "start-adapter", "adapter_model.safetensors"), "utf8")).toBe("weights");
  }
  await database.close();
});

test.each([
  { code: "artifact_store_unavailable", isHeld: true },
  { code: "artifact_store_refused", isHeld: true },
  { code: "store_unavailable", isHeld: true },
  { code: "artifact_missing", isHeld: false },
] as const)("a night that meets $code: held for the next turn $isHeld, else failed", async ({ code, isHeld }) => {
  const finished: unknown[] = [];
  const args = { where: "the bucket", problem: "away", what: "a group" };
  const error = nightshiftError(code satisfies ErrorCode, args);
  const runs = {
    get: () => Promise.resolve(null),
    step: () => Promise.reject(error),
    finish: (...ended: unknown[]) => Promise.resolve(void finished.push(ended[1])),
  } as unknown as RunStore;
  const jobRunner = { cancel: () => Promise.resolve(), release: () => Promise.resolve() };
  const deps = { runs, jobRunner, log: silentLog(), now: () => 0 } as unknown as NightDeps;
  const outcome = await runNight(optionsOf(), deps).catch((cause: unknown) => cause);
  if (isHeld) expect([outcome, finished]).toEqual([error, []]);
  else expect([outcome, finished]).toEqual([expect.objectContaining({ kind: "failed", code }), ["failed"]]);
});
