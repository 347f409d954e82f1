import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { loadSigningKey } from "../../../src/artifact/signing-key.ts";
import { silentLog } from "../../../src/log.ts";
import type { Evidence } from "../../../src/promotion/evidence.ts";
import { createExperimentStore } from "../../../src/promotion/experiment-store.ts";
import { createGatewayRouter } from "../../../src/promotion/gateway-router.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { registerAdapter } from "../../../src/training/adapters.ts";
import { createRunStore } from "../../../src/training/run-store.ts";
import { canaryWorld } from "../../promotion/canary-world.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { LIMITS } from "./limits.ts";

/** Two processes, as far as the server can tell: each a pool of its own. */
let server: PostgresServer;
let one: Database;
let other: Database;
const dir = mkdtempSync(join(tmpdir(), "nightshift-writers-"));
beforeAll(async () => {
  server = await startPostgres({ settings: ["fsync=off"] });
  [one, other] = [server.url, server.url].map((url) => createPostgres({ ...LIMITS, url }, { log: silentLog() })) as [Database, Database];
  await one.migrate();
});
afterAll(async () => {
  await Promise.all([one.close(), other.close()]);
  await server.remove();
  rmSync(dir, { recursive: true, force: true });
});

const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
/** The first process's for even numbers, the other's for odd ones. */
const at = <T>(both: readonly T[], index: number): T => both[index % 2] as T;

test("adapters registered by two processes at once: numbers without a gap or a double, one adapter for an iteration", async () => {
  const directory = join(dir, "adapter");
  const artifacts = createFileArtifactStore({ dir: join(dir, "artifacts") });
  const key = loadSigningKey(join(dir, "keys"));
  const files = mkdtempSync(directory);
  writeFileSync(join(files, "adapter_model.safetensors"), "weights");
  const register = (index: number, iteration: number) =>
    registerAdapter(
      {
        ...{ directory: files, tenant: "default", agent: "shop", runId: "run", iteration, rank: 8 },
        ...{ baseDigest: "sha256:b", parentDigest: null, lineage: new Uint8Array([1]), nowMs: 1_000 + index },
      },
      { database: at([one, other], index), artifacts, key },
    );
  // Every iteration twice, once by each process.
  const registered = await Promise.all(upTo(12).map((index) => register(index, Math.floor(index / 2))));
  const byIteration = Map.groupBy(registered, ({ iteration }) => iteration);
  for (const both of byIteration.values()) expect(new Set(both.map(({ digest }) => digest)).size).toBe(1);
  const rows = await one.kysely.selectFrom("adapters").select("number").orderBy("number").execute();
  expect(rows.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6]);
});

test("candidates submitted by two processes at once get generations of their own", async () => {
  const worlds = await Promise.all([one, other].map((database) => canaryWorld(database, { agent: "contended", seed: 1 })));
  await Promise.all(upTo(8).map((index) => at(worlds, index).submit(`contended-${index}`)));
  // The same id from both is one experiment.
  await Promise.all(worlds.map((world) => world.submit("contended-same")));
  const experiments = await createExperimentStore({ database: one, now: Date.now }).list("contended");
  expect(experiments.map(({ generation }) => generation).toSorted((a, b) => a - b)).toEqual(upTo(9).map((index) => index + 1));
});

test("evidence appended by two processes at once: no row is lost, no number is given twice, who knew too little is told so", async () => {
  const stores = [one, other].map((database) => createExperimentStore({ database, now: Date.now }));
  const id = "contended-log";
  await Promise.all(upTo(10).map((index) => at(stores, index).disturbed(id, "gateway_restart", index)));
  const row: Evidence = { kind: "boundary", atMs: 99, cause: "pause", step: null };
  const appended = await Promise.all(stores.map((store) => store.append(id, 10, [row])));
  expect(appended.toSorted()).toEqual(["appended", "conflict"]);
  const log = await stores[0]?.evidence(id, 0);
  expect(
    log
      ?.slice(0, 10)
      .map(({ atMs }) => atMs)
      .toSorted((a, b) => a - b),
  ).toEqual(upTo(10));
  expect(log).toHaveLength(11);
});

test("routes set by two processes at once, the first ones of their agent: versions grow, the newest generation stands", async () => {
  const routers = [one, other].map((database) => createGatewayRouter({ database, log: silentLog() }));
  const routes = {
    ...{ agent: "routed", model: "shop", version: 1, candidate: null, experimentId: null, salt: null },
    stable: { name: "base", digest: "sha256:base" },
  };
  const results = await Promise.all(upTo(8).map((generation) => at(routers, generation).setRoutes({ ...routes, generation })));
  const set = results.filter((result) => result.status === "set").length;
  expect(await routers[0]?.routes("routed")).toMatchObject({ generation: 7, version: set });
});

test("a step that two processes finish has the output of the first, for both", async () => {
  const runs = [one, other].map((database) => createRunStore(database, Date.now));
  await runs[0]?.create({ id: "shared-run", tenant: "default", agent: "stepped", plan: {}, nowMs: 1 });
  const bothStarted = Promise.withResolvers<void>();
  let started = 0;
  const outputs = await Promise.all(
    runs.map((store, index) =>
      store.step("shared-run", "select", async () => {
        if ((started += 1) === 2) bothStarted.resolve();
        await bothStarted.promise;
        return { by: index };
      }),
    ),
  );
  expect(outputs[0]).toEqual(outputs[1]);
  expect((await runs[0]?.steps("shared-run"))?.[0]?.output).toEqual(outputs[0]);
});
