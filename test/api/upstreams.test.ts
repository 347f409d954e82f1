import { afterAll, beforeAll, expect, it } from "vitest";
import { createControlClient } from "../../src/serving/control-client.ts";
import type { ReplicaAddress } from "../../src/serving/replica-source.ts";
import type { Database } from "../../src/store/database.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { apiWorld, type ApiWorld } from "./world.ts";

const replica = (name: string, change: Partial<ReplicaAddress> = {}): ReplicaAddress => ({
  ...{ name, url: `http://${name}:8000`, readinessUrl: `http://${name}:4402/ready`, uid: `uid-${name}`, isReady: true },
  ...change,
});

let database: Database;
let world: ApiWorld;
beforeAll(async () => {
  database = await memoryDatabase();
  world = await apiWorld(database);
});
afterAll(async () => {
  await world.close();
  await database.close();
});

const ask = (query: string) => world.get(`/v1/upstreams?agent=support${query}`);

it("are answered with a version that says whether they are the same", async () => {
  world.found.set([replica("b"), replica("a")]);
  const first = await ask("");
  expect(first).toMatchObject({
    status: 200,
    body: { agent: "support", replicas: [replica("a"), replica("b")] },
    headers: { connection: "close" },
  });
  const { version } = first.body as { version: string };
  expect((await ask(`&known=${version}`)).status).toBe(204);
  world.found.set([replica("a")]);
  expect((await ask(`&known=${version}`)).status).toBe(200);
  // Another replica of the control service that sees the same gives the same answer.
  world.found.set([replica("a"), replica("b")]);
  expect((await ask("")).body).toEqual(first.body);
});

it("are waited for: a pod that becomes ready answers the poll that is open", async () => {
  world.found.set([replica("a", { isReady: false })]);
  const { version } = (await ask("")).body as { version: string };
  const polled = ask(`&known=${version}&waitMs=30000`);
  world.found.set([replica("a")]);
  expect(await polled).toMatchObject({ status: 200, body: { replicas: [{ name: "a", isReady: true }] } });
  const { version: same } = (await ask("")).body as { version: string };
  expect((await ask(`&known=${same}&waitMs=50`)).status).toBe(204);
});

it("reach a gateway by its client", async () => {
  world.found.set([replica("a")]);
  const control = createControlClient({ controlUrl: world.url });
  const told = await control.replicas("support", { known: null, waitMs: 0 }, AbortSignal.timeout(5_000));
  expect(told?.replicas).toEqual([replica("a")]);
  expect(await control.replicas("support", { known: told?.version ?? "", waitMs: 10 }, AbortSignal.timeout(5_000))).toBeNull();
  await expect(control.replicas("nobody", { known: null, waitMs: 0 }, AbortSignal.timeout(5_000))).rejects.toThrow("it answered 404");
});
