import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { sql } from "kysely";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startIngest } from "../../src/app/capture.ts";
import { startReceiver } from "../../src/app/receiver.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig } from "../../src/config.ts";
import type { Database } from "../../src/store/database.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { splitRequest } from "../../src/trace/split.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import type { Transport, TransportRecord } from "../../src/transport/transport.ts";
import { rowsOf } from "../real/collector/raw-tables.ts";
import { ITEMS, itemsIn, loadedRecording, loadedRecordings, ORDER } from "../fixtures/otlp/loaded.ts";
import { RECORDINGS } from "../fixtures/otlp/recordings.ts";

/**
 * Two hundred secrets and personal items in every recording, through the real receiver into a store on disk. The spans of one conversation reach two collectors in turn, which
 * share a key and nothing else.
 */
const directory = mkdtempSync(join(tmpdir(), "nightshift-leak-"));
const published: TransportRecord[] = [];
let said = "";
/** Rows of all tables, as text, bytes as what they spell. */
let stored = "";
let transcripts: { key: string; text: string }[] = [];

beforeAll(async () => {
  const redactionKeyFile = join(directory, "redaction.key");
  writeFileSync(redactionKeyFile, createHash("sha256").update("the same on both").digest());
  const log = pino({ level: "trace" }, { write: (line: string) => void (said += line) });
  const config = {
    ...parseConfig({ collector: { port: 0 }, capture: { graceMs: 0 }, tenants: { default: { redactionKeyFile } } }),
    dataDir: directory,
  };
  const database = await createPglite({ dir: join(directory, "store"), log });
  await database.migrate();
  const inline = createInlineTransport({ log });
  const transport: Transport = {
    ...inline,
    publish: (record, options) => (published.push({ ...record, body: Uint8Array.from(record.body) }), inline.publish(record, options)),
  };
  const artifacts = createFileArtifactStore({ dir: join(directory, "artifacts") });
  let aheadMs = 0;
  const now = (): number => Date.now() + aheadMs;
  const ingest = await startIngest(config, { database, transport, artifacts, log, now });
  const receivers = [1, 2].map(() => startReceiver(config, { transport, artifacts, log, now }));
  const [one, two] = [await receivers[0]!, await receivers[1]!];
  await sendEverything([one.port, two.port]);
  aheadMs = 3_600_000;
  await ingest.sweep();
  stored = await rowsOf(database);
  transcripts = await transcriptsOf(database);
  await Promise.all([one.close(), two.close()]);
  await ingest.close();
  await database.close();
}, 300_000);
afterAll(() => rmSync(directory, { recursive: true }));

async function sendEverything(ports: readonly number[]): Promise<void> {
  let sent = 0;
  for (const { signal, bytes } of await loadedRecordings()) {
    // One span a request, alternating: no replica sees a conversation whole.
    for (const part of splitRequest(bytes, signal, 1)) {
      const url = `http://127.0.0.1:${ports[sent++ % ports.length]}/v1/${signal}`;
      const response = await fetch(url, {
        method: "POST",
        body: part.bytes as never,
        headers: { "content-type": "application/x-protobuf" },
      });
      expect(response.status).toBe(200);
    }
  }
}

async function transcriptsOf({ kysely }: Database): Promise<{ key: string; text: string }[]> {
  const { rows } = await sql<{ key: string; text: string }>`
    select t.conversation_key as key, string_agg(m.body::text, E'\n' order by h.position) as text
    from trajectories t, jsonb_array_elements_text(t.message_hashes) with ordinality as h(hash, position) join messages m on m.hash = h.hash
    group by t.id, t.version, t.conversation_key`.execute(kysely);
  return rows;
}

test("the items were sent", async () => {
  const bytes = await loadedRecording("openinference-openai", "traces");
  expect(itemsIn(Buffer.from(bytes).toString("latin1"))).toHaveLength(ITEMS.length);
});

test("our topic has none of them", () => {
  expect(published.length).toBeGreaterThan(50);
  expect(
    itemsIn(
      published.map(({ body, encoding }) => Buffer.from(encoding === "gzip" ? gunzipSync(body) : body).toString("latin1")).join("\n"),
    ),
  ).toEqual([]);
});

test("no table has any of them, nor has the log", () => {
  expect(stored).toContain("lookup_order");
  expect(itemsIn(stored)).toEqual([]);
  expect(itemsIn(said)).toEqual([]);
});

test("no file below the data directory has any of them", () => {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  expect(files.length).toBeGreaterThan(10);
  const hits = files.flatMap((file) => {
    const bytes = readFileSync(join(file.parentPath, file.name));
    return ITEMS.filter(({ secret }) => bytes.includes(secret)).map(({ kind }) => `${kind} in ${file.name}`);
  });
  expect(hits).toEqual([]);
});

describe("what was taken out reads the same wherever it stood, whichever collector took it out", () => {
  test("in each transcript", () => {
    // Recordings of one framework share its session, and are one conversation.
    expect(transcripts.length).toBeGreaterThan(Object.keys(RECORDINGS).length / 2);
    for (const { text } of transcripts) {
      const copies = new Set([...text.matchAll(new RegExp(`${ORDER} (.*?) end`, "gs"))].map(([, copy]) => copy));
      expect(copies.size).toBeLessThanOrEqual(1);
    }
    expect(transcripts.some(({ text }) => (text.match(new RegExp(`${ORDER} <`, "g")) ?? []).length > 3)).toBe(true);
  });
});
