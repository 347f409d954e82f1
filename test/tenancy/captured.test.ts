import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCapture, type Capture } from "../../src/app/capture.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig, type Config } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { loadRecordings } from "../../src/rollout/load-recordings.ts";
import type { Recordings } from "../../src/rollout/recordings.ts";
import type { Database } from "../../src/store/database.ts";
import { createEraser } from "../../src/training/eraser.ts";
import { createRunFiles } from "../../src/training/run-files.ts";
import { saveTrajectories } from "../../src/trajectory/save-trajectories.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { protobuf, traceRequest } from "../fixtures/otlp/build.ts";
import { conversation as recordedConversation, lookup, play, shopConfigs } from "../rollout/build.ts";
import { openScenarios } from "../scenario/settings.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { spanOf, START_MS } from "../subjects/world.ts";

const TENANTS = ["north", "south"] as const;
const AGENTS = ["north-desk", "north-shop", "south-desk", "south-shop"] as const;
const PICTURE = Buffer.from("the same picture");
const home = mkdtempSync(join(tmpdir(), "nightshift-tenancy-"));
const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex");
const clock = { nowMs: START_MS + 10_000 };
const artifacts = createFileArtifactStore({ dir: join(home, "artifacts") });

const config: Config = {
  ...parseConfig({
    collector: { port: 0 },
    capture: { graceMs: 0, idleMs: 1, sweepMs: 3_600_000 },
    tenants: Object.fromEntries(TENANTS.map((tenant) => [tenant, { collectorTokenHashes: [hashOf(`token-of-${tenant}`)] }])),
    agents: Object.fromEntries(
      AGENTS.map((agent) => {
        const [tenant, name] = agent.split("-");
        // Each tenant calls its agents `desk` and `shop`.
        const match = { serviceName: name };
        return [
          agent,
          { tenant, match, model: agent, baseModel: "b", tools: shopConfigs, scenario: { ...openScenarios, heldOutShare: 0.2 } },
        ];
      }),
    ),
  }),
  dataDir: home,
};

let database: Database;
let transport: Transport;
let capture: Capture;

beforeAll(async () => {
  database = await memoryDatabase();
  transport = createInlineTransport({ log: silentLog() });
  capture = await startCapture(config, { database, transport, artifacts, log: silentLog(), now: () => clock.nowMs });
  for (const tenant of TENANTS) for (const service of ["desk", "shop"]) await send(tenant, service);
  clock.nowMs += 3_600_000;
  await capture.sweep();
});
afterAll(async () => {
  await capture?.close();
  await transport?.close();
  await database?.close();
  rmSync(home, { recursive: true });
});

/** The same customer, session, trace ids and picture, whoever sends it. */
async function send(tenant: string, service: string): Promise<void> {
  const said = (role: string, content: string, more: object[] = []) => ({ role, parts: [{ type: "text", content }, ...more] });
  const picture = { type: "blob", modality: "image", mime_type: "image/png", content: PICTURE.toString("base64") };
  const about = { "gen_ai.conversation.id": "the same session" };
  const call = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.input.messages": JSON.stringify([said("system", "You help."), said("user", `a secret of ${tenant}'s ${service}`, [picture])]),
    "gen_ai.output.messages": JSON.stringify([said("assistant", "I see")]),
    "gen_ai.tool.definitions": "[]",
  };
  const spans = [
    spanOf(service, "root", { "user.id": "the same customer", ...about }),
    spanOf(service, "call", { ...call, ...about }, { parent: "root" }),
  ];
  const response = await fetch(`http://127.0.0.1:${capture.port}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf", authorization: `Bearer token-of-${tenant}` },
    body: protobuf(traceRequest(spans, { resource: { "service.name": service } })) as unknown as string,
  });
  expect(response.status).toBe(200);
}

function recordingsOf(agent: string): Promise<Recordings> {
  const own = config.agents[agent];
  if (own === undefined) throw new Error("the config has it");
  return loadRecordings(database, { agent, config: own, nowMs: clock.nowMs });
}

test("the same spans of two tenants' agents of one name are four agents' trajectories; each reads its own, and knows of its tenant's others alone", async () => {
  for (const agent of AGENTS) {
    const [tenant = "", service = ""] = agent.split("-");
    const { trajectories, others, selection } = await recordingsOf(agent);
    expect(trajectories.map((one) => [one.tenant, one.agent])).toEqual([[tenant, agent]]);
    expect(JSON.stringify(trajectories)).toContain(`a secret of ${tenant}'s ${service}`);
    expect(others.map((one) => [one.tenant, one.agent])).toEqual([[tenant, `${tenant}-${service === "desk" ? "shop" : "desk"}`]]);
    expect(selection.tapes.map((tape) => [tape.tenant, tape.agent])).toEqual([[tenant, agent]]);
  }
  // A session of one tenant is one conversation, whoever of its agents was in it; that of another tenant is another one.
  const conversations = await database.kysely.selectFrom("conversations").select(["id", "tenant", "key"]).orderBy("tenant").execute();
  expect(conversations.map(({ tenant, key }) => [tenant, key])).toEqual(TENANTS.map((tenant) => [tenant, "the same session"]));
  expect(conversations[0]?.id).not.toBe(conversations[1]?.id);
});

test("a customer who is erased of one tenant stays in the other, and so does a picture that both have", async () => {
  const digest = `sha256:${hashOf(PICTURE.toString())}` as const;
  expect(await artifacts.get(digest)).not.toBeNull();
  const runFiles = createRunFiles({ runsDirectory: join(home, "runs") }, { mirror: null });
  const eraser = createEraser({ database, artifacts, runFiles, log: silentLog(), now: () => clock.nowMs });
  const erase = (tenant: string) => eraser.erase({ tenant, subjects: ["the same customer"], actor: "kim" });
  expect(await erase("north")).toMatchObject({ state: "erased", removed: { conversations: 1, trajectories: 2 } });
  const left = async () => (await database.kysely.selectFrom("spans").select("tenant").execute()).map(({ tenant }) => tenant);
  expect(new Set(await left())).toEqual(new Set(["south"]));
  expect((await recordingsOf("south-desk")).trajectories).toHaveLength(1);
  expect(Buffer.from((await artifacts.get(digest)) ?? [])).toEqual(PICTURE);
  await erase("south");
  expect(await left()).toEqual([]);
  expect(await artifacts.get(digest)).toBeNull();
});

test("a call that only another agent's tape has, of this tenant or of another, is answered by none", async () => {
  const of = (agent: string, id: string, orders: readonly string[]): Trajectory =>
    recordedConversation(
      id,
      orders.map((order) => lookup(order)),
      {
        user: "one and the same",
        overrides: { tenant: agent.split("-")[0] ?? "", agent },
      },
    );
  const own = of("north-desk", "own", ["A1"]);
  const recorded = [own, of("north-desk", "own-2", ["A2"]), of("north-shop", "beside", ["B1"]), of("south-desk", "foreign", ["C1"])];
  await database.transaction((trx) =>
    saveTrajectories(
      trx,
      recorded.map(({ conversationId }) => conversationId),
      recorded,
    ),
  );
  const recordings = await recordingsOf("north-desk");
  const { split } = recordings.walls.placeOf(own);
  const asked = ["A1", "A2", "B1", "C1"].map((order) => ({ tool: "lookup_order", args: { order_id: order } }));
  const answers = play(recordings.cascade(split), own, asked);
  expect(answers.map(({ rung }) => rung)).toEqual(["R1", "R3", "R7", "R7"]);
  expect(JSON.stringify(answers)).not.toMatch(/beside|foreign/);
});
