import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fc, test as propertyTest } from "@fast-check/vitest";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { openPreparation } from "../../src/app/preparation.ts";
import type { ArtifactStore } from "../../src/artifact/artifact-store.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig, type Config } from "../../src/config.ts";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import type { Call } from "../../src/trace/call.ts";
import type { Message, Part } from "../../src/trace/message.ts";
import { createAssembler } from "../../src/trajectory/assembler.ts";
import { createMediaKeeper } from "../../src/trajectory/keep-media.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { chat, ingest, rootSpan } from "./ingest.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-media-"));
const KEY = new Uint8Array(32).fill(7);
const keys = new Map([["default", KEY]]);
let artifacts: ArtifactStore;
let database: Database;
beforeAll(async () => {
  artifacts = createFileArtifactStore({ dir: join(dir, "artifacts") });
  database = await memoryDatabase();
});
afterEach(async () => {
  for (const table of [
    "spans",
    "log_events",
    "conversations",
    "conversation_traces",
    "messages",
    "trajectories",
    "conversation_media",
  ] as const) {
    await database.kysely.deleteFrom(table).execute();
  }
});
afterAll(async () => {
  await database.close();
  rmSync(dir, { recursive: true });
});

/** The smallest picture that is one. */
const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const REFERENCE = { type: "file", modality: "image", mime_type: "image/png", size: PNG.length, file_id: digestOf(PNG) };
const BASE64 = PNG.toString("base64");
const DATA_URL = `data:image/png;base64,${BASE64}`;

const keeper = (maxBytes = 1_000) =>
  createMediaKeeper({
    maxBytes,
    store: async (_, media) => {
      for (const bytes of media.values()) await artifacts.put(bytes);
      return true;
    },
  });
const inference = (message: Message): Call => ({ kind: "inference", input: [message], output: [], damage: [] }) as unknown as Call;

async function kept(part: Part, maxBytes?: number) {
  const { calls, digests } = await keeper(maxBytes).keep({ tenant: "default", id: "c1", arrivals: 1 }, [
    inference({ role: "user", parts: [part] }),
  ]);
  const [call] = calls;
  return { part: call?.kind === "inference" ? call.input[0]?.parts[0] : undefined, damage: call?.damage, digests };
}

describe("a medium in a message becomes a reference, and its bytes an object", () => {
  test.each<[string, Part]>([
    ["a blob of the GenAI conventions", { type: "blob", modality: "image", mime_type: "image/png", content: BASE64 }],
    ["a data URL of the chat API", { type: "image_url", image_url: { url: DATA_URL, detail: "low" } }],
    ["a data URL of the Responses API", { type: "input_image", image_url: DATA_URL }],
    ["a data URL of OpenInference", { type: "image", image: { image: { url: DATA_URL } } }],
    ["a data URL as uri", { type: "uri", modality: "image", uri: DATA_URL }],
    ["a source of Anthropic's", { type: "image", source: { type: "base64", media_type: "image/png", data: BASE64 } }],
    ["MCP's content", { type: "image", data: BASE64, mimeType: "image/png" }],
    ["with line breaks", { type: "blob", mime_type: "image/png", content: BASE64.replaceAll(/.{40}/g, "$&\n") }],
    [
      "in the URL-safe alphabet, with parameters",
      { type: "image_url", image_url: { url: `data:image/png;name=a;base64,${PNG.toString("base64url")}` } },
    ],
  ])("%s", async (_, part) => {
    expect(await kept(part)).toEqual({ part: REFERENCE, damage: [], digests: new Set([REFERENCE.file_id]) });
    expect(Buffer.from((await artifacts.get(digestOf(PNG) as `sha256:${string}`)) ?? []).equals(PNG)).toBe(true);
  });

  test("sound, with its format", async () => {
    const { part } = await kept({ type: "input_audio", input_audio: { data: BASE64, format: "mp3" } });
    expect(part).toMatchObject({ type: "file", modality: "audio", mime_type: "audio/mp3" });
  });

  test("inside a tool's answer", async () => {
    const { part } = await kept({
      type: "tool_call_response",
      id: "c",
      response: [
        { type: "text", text: "here" },
        { type: "image", data: BASE64, mimeType: "image/png" },
      ],
    });
    expect(part).toEqual({ type: "tool_call_response", id: "c", response: [{ type: "text", text: "here" }, REFERENCE] });
  });

  test("too large: left out, and the conversation says so", async () => {
    const { file_id: _, ...bare } = REFERENCE;
    expect(await kept({ type: "image_url", image_url: { url: DATA_URL } }, 10)).toEqual({
      part: bare,
      damage: ["dangling_ref"],
      digests: new Set(),
    });
  });

  test.each<Part>([
    { type: "image_url", image_url: { url: "https://example.com/a.png" } },
    { type: "uri", modality: "image", uri: "s3://bucket/key" },
    { type: "file", modality: "image", file_id: "file-123" },
    { type: "file", file_id: REFERENCE.file_id },
    { type: "image_url", image_url: { url: "data:image/png;base64,not base64!" } },
    { type: "image_url", image_url: { url: "data:text/plain,hello" } },
    { type: "blob", content: "" },
    { type: "text", content: DATA_URL },
    { type: "tool_call", id: "c", name: "f", arguments: { url: DATA_URL } },
  ])("what is an address, no medium or words stays as it is: %j", async (part) => {
    expect(await kept(part)).toEqual({ part, damage: [], digests: new Set() });
  });

  test("a million blanks before what is no base64 take no longer than others", async () => {
    const part = { type: "blob", content: `A${" ".repeat(1_000_000)}!` };
    expect((await kept(part)).part).toEqual(part);
  });

  propertyTest.prop([
    fc.dictionary(
      fc.constantFrom("image_url", "image", "source", "content", "data", "mimeType", "response", "url", "other"),
      fc.jsonValue({ maxDepth: 4 }),
    ),
    fc.constantFrom("image_url", "image", "blob", "text", "tool_call_response", "x"),
  ])("whatever a part holds, nothing is thrown and twice is as once", async (value, type) => {
    const part: Part = { ...value, type };
    const once = await kept(part);
    expect((await kept(once.part as Part)).part).toEqual(once.part);
  });
});

function configured(tenant: object = {}): Config {
  return parseConfig({
    capture: { graceMs: 1_000, idleMs: 10_000, maxAgeMs: 100_000, maxMediaBytes: 1_000, maxReferenceBytes: 10_000, sweepMs: 1_000 },
    agents: { shop: { model: "shop-model", baseModel: "b" } },
    tenants: { default: tenant },
  });
}

function assemblerOf(tenant: object = {}, store: ArtifactStore = artifacts) {
  const config = configured(tenant);
  return createAssembler({ database, config, log: silentLog(), ...openPreparation(config, { database, keys, artifacts: store }) });
}

const send = (spans: Parameters<typeof ingest>[2], atMs = 1_000) => ingest(database, configured().agents, spans, atMs);
const say = (role: string, ...parts: Part[]): Message => ({ role, parts });
const text = (content: string): Part => ({ type: "text", content });

describe("in the assembler", () => {
  const SPANS = [
    chat(
      "i1",
      [100, 1_000],
      [say("user", text("What is this?"), { type: "image_url", image_url: { url: DATA_URL } })],
      [say("assistant", text("A dot."))],
    ),
    rootSpan([0, 2_000]),
  ];

  test("the trajectory refers to its picture, and a row says so", async () => {
    await send(SPANS);
    const [trajectory] = await assemblerOf().sweep(5_000);
    expect(trajectory?.messages[0]?.parts).toEqual([text("What is this?"), REFERENCE]);
    expect(trajectory?.media).toEqual([REFERENCE.file_id]);
    expect(await database.kysely.selectFrom("conversation_media").selectAll().execute()).toEqual([
      { digest: REFERENCE.file_id, conversation_id: trajectory?.conversationId, tenant: "default" },
    ]);
    expect(JSON.stringify(await database.kysely.selectFrom("messages").selectAll().execute())).not.toContain(BASE64);
  });

  test("a sender that names another's object gets no row for it", async () => {
    await send([
      chat("i1", [100, 1_000], [say("user", { type: "file", file_id: REFERENCE.file_id })], [say("assistant", text("x"))]),
      rootSpan([0, 2_000]),
    ]);
    const [trajectory] = await assemblerOf().sweep(5_000);
    expect(trajectory?.media).toBeUndefined();
    expect(await database.kysely.selectFrom("conversation_media").selectAll().execute()).toEqual([]);
  });

  test("while the store does not answer the conversation waits", async () => {
    await send(SPANS);
    const away: ArtifactStore = {
      ...artifacts,
      put: () => Promise.reject(nightshiftError("artifact_store_unavailable", { where: "x", problem: "y" })),
    };
    await expect(assemblerOf({}, away).sweep(5_000)).rejects.toMatchObject({ code: "artifact_store_unavailable" });
    expect(await database.kysely.selectFrom("trajectories").selectAll().execute()).toEqual([]);
    expect(await assemblerOf().sweep(6_000)).toHaveLength(1);
  });
});
