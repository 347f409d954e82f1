import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { startProgram, type Started } from "../../deploy/quickstart/processes.ts";
import type { SubjectView } from "../../src/api/subjects.ts";
import { protobuf, traceRequest } from "../fixtures/otlp/build.ts";
import { cli } from "../cli/terminal.ts";
import { conversation, filesWith, hexOf } from "../subjects/world.ts";
import { killNow, until } from "./processes.ts";
import { ROOT, type UpReady } from "./small-shop.ts";

const SECRET = "zebra-7731 fell into the Vltava";
let directory: string;
let up: Started<UpReady>;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "nightshift-erase-"));
  const listeners = Object.fromEntries(["collector", "gateway", "api"].map((name) => [name, { port: 0 }]));
  const capture = { graceMs: 0, idleMs: 200, sweepMs: 100 };
  await writeFile(join(directory, "n.yaml"), stringify({ dataDir: join(directory, "data"), logLevel: "info", capture, ...listeners }));
  up = await start();
});
afterAll(async () => {
  if (up !== undefined) await killNow(up.child);
  await rm(directory, { recursive: true, force: true });
});

function start(): Promise<Started<UpReady>> {
  const args = [join(ROOT, "src/cli/main.ts"), "up", "--config", join(directory, "n.yaml"), "--json"];
  return startProgram({ name: "up", args, env: {}, logFile: join(directory, "up.log") });
}

const show = async (): Promise<SubjectView> =>
  JSON.parse((await cli(["subjects", "show", "xq-anneliese", "--url", up.ready.api, "--json"])).out) as SubjectView;
async function send(): Promise<void> {
  const body = protobuf(traceRequest([...conversation("xq-anneliese", SECRET), ...conversation("ben", "my kettle sings")]));
  const headers = { "content-type": "application/x-protobuf" };
  const { status } = await fetch(`${up.ready.collector}/v1/traces`, { method: "POST", headers, body: body as unknown as string });
  expect(status).toBe(200);
}

test("a running Nightshift forgets a customer: no query, no later delivery, and no byte of its data directory, logs included", async () => {
  await send();
  await until("the conversation is assembled", 60_000, async () => ((await show()).held["trajectories"] === 1 ? true : null));
  const erased = await cli(["subjects", "erase", "xq-anneliese", "--yes", "--url", up.ready.api, "--json"]);
  expect(JSON.parse(erased.out)).toMatchObject({ state: "erased", removed: { spans: 2, trajectories: 1 } });
  await until("the store is compacted", 120_000, async () => ((await show()).erasures[0]?.state === "compacted" ? true : null));
  await send();
  expect((await show()).held).toMatchObject({ spans: 0, conversations: 0 });
  await killNow(up.child);
  up = await start();
  await send();
  expect((await show()).held).toMatchObject({ spans: 0, conversations: 0 });
  const others = JSON.parse((await cli(["subjects", "show", "ben", "--url", up.ready.api, "--json"])).out) as SubjectView;
  expect(others.held).toMatchObject({ spans: 2 });
  for (const needle of ["zebra-7731", "xq-anneliese", hexOf("xq-anneliese", 32)]) expect(filesWith(directory, needle)).toEqual([]);
});
