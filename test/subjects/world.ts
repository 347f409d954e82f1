import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sql } from "kysely";
import { startCapture, type Capture } from "../../src/app/capture.ts";
import type { ArtifactStore, Digest } from "../../src/artifact/artifact-store.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { loadSigningKey } from "../../src/artifact/signing-key.ts";
import { parseConfig, type Config } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { writeReply } from "../../src/reward/judge-cache.ts";
import type { TrajectoryGroup } from "../../src/rollout/group.ts";
import { sourcesOfGroup } from "../../src/rollout/sources.ts";
import type { Database } from "../../src/store/database.ts";
import { registerAdapter, type RegisteredAdapter } from "../../src/training/adapters.ts";
import { createEraser, type Eraser } from "../../src/training/eraser.ts";
import { runIteration } from "../../src/training/iteration.ts";
import { saveScenarios } from "../../src/training/run-scenarios.ts";
import { createRunFiles, type RunFiles } from "../../src/training/run-files.ts";
import { createRunStore, type RunStore } from "../../src/training/run-store.ts";
import { recordFeedback } from "../../src/trajectory/feedback.ts";
import { pivotIdOf, scenarioIdOf } from "../../src/trajectory/record-tape.ts";
import { loadTrajectory, listTrajectories } from "../../src/trajectory/trajectory-store.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { protobuf, spanJson, traceRequest, type Value } from "../fixtures/otlp/build.ts";
import { group, rollout, text } from "../reward/groups.ts";

export const START_MS = 1_795_000_000_000;
const SYSTEM = "You help customers of a shop.";

/** Capture, nights and erasure over one database, on real bytes, with a clock that the test moves. */
export interface SubjectWorld {
  config: Config;
  clock: { nowMs: number };
  capture: Capture;
  transport: Transport;
  artifacts: ArtifactStore;
  runs: RunStore;
  runFiles: RunFiles;
  runsDirectory: string;
  eraser: Eraser;
  /** A whole conversation of a customer, through the receiver; resolves to its trajectory. `secret` is what only this customer says. */
  talk(customer: string, secret: string): Promise<Trajectory>;
  /** Spans through the receiver, as an SDK sends them. */
  send(spans: readonly object[]): Promise<void>;
  feedback(conversation: string, explanation: string): Promise<void>;
  /** A judged, kept group of the trajectory's scenario, or of one model call of it, whose members also quote other tapes. */
  playGroup(
    run: { runId: string; iteration: number },
    of: Trajectory,
    more?: { quotes?: readonly Trajectory[]; says?: string; pivot?: number },
  ): Promise<void>;
  adapter(of: {
    runId: string;
    iteration: number;
    parent?: RegisteredAdapter;
    conversations: readonly string[];
  }): Promise<RegisteredAdapter>;
  close(): Promise<void>;
}

export function spanOf(
  trace: string,
  id: string,
  attributes: Readonly<Record<string, Value>>,
  more: { parent?: string; atMs?: number } = {},
): object {
  const { parent, atMs = START_MS } = more;
  return spanJson({
    ...{ traceId: hexOf(trace, 32), spanId: hexOf(`${trace}${id}`, 16), name: id },
    ...(parent === undefined ? {} : { parentSpanId: hexOf(`${trace}${parent}`, 16) }),
    startTimeUnixNano: String(BigInt(atMs) * 1_000_000n),
    endTimeUnixNano: String(BigInt(atMs + 1_000) * 1_000_000n),
    attributes,
  });
}

export function hexOf(name: string, length: number): string {
  return Buffer.from(name).toString("hex").padStart(length, "0").slice(-length);
}

export async function subjectWorld(
  database: Database,
  directory: string,
  given: { artifacts?: ArtifactStore } = {},
): Promise<SubjectWorld> {
  const log = silentLog();
  const clock = { nowMs: START_MS + 10_000 };
  const now = (): number => clock.nowMs;
  const config: Config = {
    ...parseConfig({
      collector: { port: 0 },
      capture: { graceMs: 0, idleMs: 1, sweepMs: 3_600_000 },
      agents: { shop: { model: "m", baseModel: "b", night: { groupSize: 3 } } },
    }),
    dataDir: directory,
  };
  const artifacts = given.artifacts ?? createFileArtifactStore({ dir: join(directory, "artifacts") });
  const transport = createInlineTransport({ log });
  const capture = await startCapture(config, { database, transport, artifacts, log, now });
  const runs = createRunStore(database, now);
  const runsDirectory = join(directory, "runs");
  const runFiles = createRunFiles({ runsDirectory }, { mirror: null });
  const world: SubjectWorld = {
    ...{ config, clock, capture, transport, artifacts, runs, runFiles, runsDirectory },
    eraser: createEraser({ database, artifacts, runFiles, log, now }),
    async send(spans) {
      const response = await fetch(`http://127.0.0.1:${capture.port}/v1/traces`, {
        method: "POST",
        headers: { "content-type": "application/x-protobuf" },
        body: protobuf(traceRequest(spans)) as unknown as string,
      });
      if (response.status !== 200) throw new Error(`the receiver answered ${response.status}`);
    },
    async talk(customer, secret) {
      await world.send(conversation(customer, secret));
      clock.nowMs += 1_000;
      await capture.sweep();
      const found = (await listTrajectories(database.kysely, { tenant: "default", limit: 1_000 })).items.find(
        ({ conversationKey }) => conversationKey === `chat-${customer}`,
      );
      const whole = found === undefined ? null : await loadTrajectory(database.kysely, found.id);
      if (whole === null) throw new Error(`the conversation of ${customer} was not assembled`);
      return whole;
    },
    feedback: (target, explanation) =>
      recordFeedback(database.kysely, [
        {
          tenant: "default",
          targetKind: "conversation",
          target,
          name: "thumbs",
          source: "user",
          value: false,
          explanation,
          atMs: clock.nowMs,
        },
      ]),
    playGroup: (run, of, more = {}) => playGroup({ database, artifacts, log, now, config }, run, of, more),
    async adapter({ runId, iteration, parent, conversations }) {
      const trained = join(directory, `trained-${runId}-${iteration}`);
      mkdirSync(trained, { recursive: true });
      writeFileSync(join(trained, "adapter_model.safetensors"), `weights of ${runId} ${iteration}`);
      const lineage = Buffer.from(JSON.stringify({ run_id: runId, groups: conversations.map((id) => ({ conversation_id: id })) }));
      const base: Digest = `sha256:${"0".repeat(64)}`;
      return registerAdapter(
        {
          ...{ directory: trained, tenant: "default", agent: "shop", runId, iteration, rank: 4, baseDigest: base, lineage },
          ...{ parentDigest: parent?.digest ?? null, nowMs: (clock.nowMs += 1) },
        },
        { database, artifacts, key: loadSigningKey(join(directory, "keys")) },
      );
    },
    async close() {
      await capture.close();
      await transport.close();
    },
  };
  return world;
}

/** A conversation in which a customer shows pictures, through the receiver and assembled. Resolves to the pictures' objects. */
export async function showPictures(world: SubjectWorld, customer: string, pictures: readonly Buffer[]): Promise<Digest[]> {
  const blobs = pictures.map((bytes) => ({ type: "blob", modality: "image", mime_type: "image/png", content: bytes.toString("base64") }));
  const input = [{ role: "user", parts: [{ type: "text", content: "look" }, ...blobs] }];
  const output = [{ role: "assistant", parts: [{ type: "text", content: "I see" }] }];
  const about = { "gen_ai.conversation.id": `chat-${customer}` };
  const call = {
    "gen_ai.operation.name": "chat",
    "gen_ai.input.messages": JSON.stringify(input),
    "gen_ai.output.messages": JSON.stringify(output),
  };
  const atMs = world.clock.nowMs;
  await world.send([
    spanOf(customer, "root", { "user.id": customer, ...about }, { atMs }),
    spanOf(customer, "call", { ...call, ...about }, { parent: "root", atMs }),
  ]);
  world.clock.nowMs += 3_600_000;
  await world.capture.sweep();
  return pictures.map((bytes): Digest => `sha256:${createHash("sha256").update(bytes).digest("hex")}`);
}

/** A root that names the customer and one model call; every customer has the same system message. */
export function conversation(customer: string, secret: string, atMs = START_MS): object[] {
  const said = (role: string, content: string) => ({ role, parts: [{ type: "text", content }] });
  return [
    spanOf(customer, "root", { "user.id": customer, "gen_ai.conversation.id": `chat-${customer}` }, { atMs }),
    spanOf(
      customer,
      "call",
      {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.conversation.id": `chat-${customer}`,
        "gen_ai.input.messages": JSON.stringify([said("system", SYSTEM), said("user", `It is me. ${secret}`)]),
        "gen_ai.output.messages": JSON.stringify([said("assistant", `I see: ${secret}`)]),
        "gen_ai.tool.definitions": "[]",
      },
      { parent: "root", atMs },
    ),
  ];
}

async function playGroup(
  deps: { database: Database; artifacts: ArtifactStore; log: ReturnType<typeof silentLog>; now: () => number; config: Config },
  { runId, iteration }: { runId: string; iteration: number },
  of: Trajectory,
  { quotes = [], says = "", pivot }: { quotes?: readonly Trajectory[]; says?: string; pivot?: number },
): Promise<void> {
  const agent = deps.config.agents["shop"];
  if (agent === undefined) throw new Error("the config has its agent");
  const scenarioId = pivot === undefined ? scenarioIdOf(of) : pivotIdOf(scenarioIdOf(of), pivot);
  const journal = quotes.map((quoted, step) => ({
    ...{ step, tool: "t", callKey: "k", rung: "R3" as const, servedFrom: { tape: `${quoted.id}@${quoted.version}`, entry: 0 } },
    ...{ confidence: 1, stateBefore: "", stateAfter: "", isError: false },
  }));
  const member = (reward: string) => rollout([...of.messages, text("assistant", `${reward} ${says}`)], { scenarioId, journal });
  const made: TrajectoryGroup = {
    ...group(`group-${runId}-${iteration}-${of.id}${pivot === undefined ? "" : `-${pivot}`}`, ["a", "b", "c"].map(member)),
    scenarioId,
    runId,
    iteration,
  };
  const scenario = {
    id: scenarioId,
    trajectoryId: of.id,
    conversationId: of.conversationId,
    split: "train",
    start: { messages: of.messages },
  };
  await saveScenarios(deps, runId, [scenario as never]);
  await runIteration(
    { runId, iteration, scenarios: [scenario as never], config: agent, judgeDeviation: 0, signal: new AbortController().signal },
    {
      ...deps,
      sleep: () => Promise.resolve(),
      rollOut: () => Promise.resolve(made),
      rewardCheck: null,
      recordedOf: () => null,
      judge: {
        async score(judged) {
          const sources = sourcesOfGroup(judged);
          const reply = { reply: `I compared: ${says || of.messages.at(-1)?.role}`, inputTokens: 1, outputTokens: 1 };
          await writeReply(deps.database, { key: `reply-${judged.groupId}`, sources, nowMs: deps.now() }, reply);
          const provenance = {
            driver: "ruler",
            model: "j",
            rubricVersion: "1",
            promptHash: "",
            inputTokens: 1,
            outputTokens: 1,
            cached: false,
          };
          const scores = { rewards: [0, 0.5, 1], spreads: [null, null, null], explanations: [says, says, says], anchor: null };
          return { status: "scored", ...scores, provenance } as never;
        },
      },
    },
  );
}

/** Tables with a row whose JSON holds the text, bytea as what it spells. */
export async function tablesWith(database: Database, needle: string): Promise<string[]> {
  const tables = (await database.kysely.introspection.getTables()).map(({ name }) => name).toSorted();
  const found: string[] = [];
  for (const table of tables) {
    const { rows } = await sql<{ row: string }>`select row_to_json(t)::text as row from ${sql.table(table)} t`.execute(database.kysely);
    const hex = Buffer.from(needle).toString("hex");
    if (rows.some(({ row }) => row.includes(needle) || row.includes(hex))) found.push(table);
  }
  return found;
}

/** Files below the directory whose bytes hold the text. */
export function filesWith(directory: string, needle: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((name) => {
    const path = join(directory, name);
    return statSync(path).isFile() && readFileSync(path).includes(needle);
  });
}
