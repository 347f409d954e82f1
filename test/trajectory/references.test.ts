import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { openPreparation } from "../../src/app/preparation.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig, type Config } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import type { Message, Part } from "../../src/trace/message.ts";
import type { Span } from "../../src/trace/span.ts";
import { createAssembler } from "../../src/trajectory/assembler.ts";
import { createReferenceFiles } from "../../src/trajectory/reference-files.ts";
import { resolveReferences } from "../../src/trajectory/references.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { ingest, rootSpan, traceId } from "./ingest.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-references-"));
const KEY = new Uint8Array(32).fill(7);
const artifacts = createFileArtifactStore({ dir: join(dir, "artifacts") });
let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterEach(async () => {
  for (const table of ["spans", "conversations", "conversation_traces", "messages", "trajectories"] as const) {
    await database.kysely.deleteFrom(table).execute();
  }
});
afterAll(async () => {
  await database.close();
  rmSync(dir, { recursive: true });
});

function configured(tenant: object = {}): Config {
  return parseConfig({
    capture: { graceMs: 1_000, idleMs: 10_000, maxAgeMs: 100_000, maxMediaBytes: 1_000, maxReferenceBytes: 10_000, sweepMs: 1_000 },
    agents: { shop: { model: "shop-model", baseModel: "b" } },
    tenants: { default: tenant },
  });
}

function assemblerOf(tenant: object = {}) {
  const config = configured(tenant);
  return createAssembler({
    database,
    config,
    log: silentLog(),
    ...openPreparation(config, { database, keys: new Map([["default", KEY]]), artifacts }),
  });
}

const send = (spans: Parameters<typeof ingest>[2], atMs = 1_000) => ingest(database, configured().agents, spans, atMs);
const say = (role: string, ...parts: Part[]): Message => ({ role, parts });
const text = (content: string): Part => ({ type: "text", content });

describe("content that lies outside the telemetry", () => {
  const allowed = join(dir, "uploads");
  const forbidden = join(dir, "elsewhere");
  mkdirSync(allowed);
  mkdirSync(forbidden);
  const prefixes = [pathToFileURL(allowed).href];
  const INPUT = [say("system", text("s")), say("user", text("Mail ada@example.com"))];
  const OUTPUT = [say("assistant", text("Done."))];

  const referring = (input: string, output: string) => [
    {
      id: "i1",
      parent: "root",
      at: [100, 1_000] as [number, number],
      attributes: { "gen_ai.operation.name": "chat", "gen_ai.input.messages_ref": input, "gen_ai.output.messages_ref": output },
    },
    rootSpan([0, 2_000]),
  ];

  function upload(name: string, content: string | Uint8Array, where = allowed): string {
    writeFileSync(join(where, name), content);
    return pathToFileURL(join(where, name)).href;
  }

  test("below a listed prefix it is read, and redacted like everything else", async () => {
    const output = OUTPUT.map((message) => JSON.stringify(message)).join("\n");
    await send(referring(upload("in.json", JSON.stringify(INPUT)), upload("out.jsonl", `${output}\n`)));
    const [trajectory] = await assemblerOf({ referencePrefixes: prefixes }).sweep(5_000);
    expect(trajectory?.messages.map(({ parts }) => parts[0])).toEqual([text("s"), text("Mail <email_1>"), text("Done.")]);
    expect(trajectory?.verdict.reasons).not.toContain("dangling_ref");
  });

  test("without a prefix nothing is read, and the verdict says which setting would change that", async () => {
    await send(referring(upload("in.json", JSON.stringify(INPUT)), upload("out.json", JSON.stringify(OUTPUT))));
    const created = await assemblerOf().sweep(5_000);
    expect(created.map(({ verdict }) => verdict.reasons)).toEqual([["system_missing", "output_missing", "dangling_ref"]]);
  });

  test("an upload that comes later is waited for; one that never comes is said to dangle", async () => {
    const input = upload("late-in.json", JSON.stringify(INPUT));
    const late = pathToFileURL(join(allowed, "late.json")).href;
    await send(referring(input, late));
    const assembler = assemblerOf({ referencePrefixes: prefixes });
    expect(await assembler.sweep(5_000)).toEqual([]);
    upload("late.json", JSON.stringify(OUTPUT));
    expect(await assembler.sweep(6_500)).toMatchObject([{ messages: [{}, {}, { role: "assistant" }] }]);
    await database.kysely.deleteFrom("trajectories").execute();
    await send([...referring(input, pathToFileURL(join(allowed, "never.json")).href), rootSpan([0, 2_500])], 20_000);
    expect(await assembler.sweep(25_000)).toEqual([]);
    const [trajectory] = await assembler.sweep(30_000);
    expect(trajectory?.verdict.reasons).toContain("dangling_ref");
  });

  const read = (address: string, maxBytes = 10_000) =>
    createReferenceFiles({ prefixesOf: () => prefixes, keyOf: () => KEY, maxBytes }).read("default", address);

  test("plain absolute paths are addresses too", async () => {
    upload("plain.json", "[]");
    expect(await read(join(allowed, "plain.json"))).toBe("[]");
  });

  test.each<[string, () => string]>([
    ["beside the prefix", () => upload("secret.json", "[]", forbidden)],
    [
      "in a directory whose name begins alike",
      () => {
        mkdirSync(`${allowed}-2`);
        return upload("x.json", "[]", `${allowed}-2`);
      },
    ],
    ["out of it by dots", () => `${prefixes[0]}/../elsewhere/secret.json`],
    ["out of it by encoded dots", () => `${prefixes[0]}/%2e%2e/elsewhere/secret.json`],
    [
      "by a symbolic link",
      () => {
        symlinkSync(join(forbidden, "secret.json"), join(allowed, "link.json"));
        return `${prefixes[0]}/link.json`;
      },
    ],
    ["the directory itself", () => prefixes[0] ?? ""],
    ["on another machine", () => `file://other${allowed}/plain.json`],
    ["in a bucket", () => "s3://bucket/key"],
    ["over HTTP", () => "http://127.0.0.1/x"],
    ["with a NUL", () => `${prefixes[0]}/a%00b`],
    ["relative", () => "uploads/plain.json"],
    ["too large", () => upload("large.json", `["${"x".repeat(10_001)}"]`)],
    ["no UTF-8", () => upload("bytes.json", Uint8Array.of(0x22, 0xff, 0xfe))],
    ["not there", () => `${prefixes[0]}/nothing.json`],
  ])("not read: %s", async (_, address) => {
    expect(await read(address())).toBeNull();
  });

  test("not read: what a directory is swapped for, between the look at it and the opening", async () => {
    const swapped = join(allowed, "swapped");
    const outside = join(forbidden, "swapped");
    for (const [directory, text] of [
      [swapped, '"ours"'],
      [outside, '"theirs"'],
    ] as const) {
      mkdirSync(directory);
      writeFileSync(join(directory, "in.json"), text);
    }
    const swapping = new Worker(SWAP, { eval: true, workerData: { swapped, outside } });
    await once(swapping, "message");
    const seen = new Set<string | null>();
    for (let round = 0; round < 2_000 || !seen.has('"ours"'); round++) seen.add(await read(join(swapped, "in.json")));
    await swapping.terminate();
    expect([...seen]).not.toContain('"theirs"');
  });

  test("another tenant's prefix opens nothing", async () => {
    const address = upload("other.json", "[]");
    const reader = createReferenceFiles({ prefixesOf: (tenant) => (tenant === "other" ? prefixes : []), keyOf: () => KEY, maxBytes: 100 });
    expect(await reader.read("default", address)).toBeNull();
    expect(await reader.read("other", address)).toBe("[]");
  });
});

/** Puts a link to another directory in a directory's place and takes it away again, as fast as it can. */
const SWAP = `
  const { renameSync, symlinkSync } = require("node:fs");
  const { parentPort, workerData: { swapped, outside } } = require("node:worker_threads");
  symlinkSync(outside, swapped + "-link");
  parentPort.postMessage("ready");
  for (;;) {
    renameSync(swapped, swapped + "-kept");
    renameSync(swapped + "-link", swapped);
    renameSync(swapped, swapped + "-link");
    renameSync(swapped + "-kept", swapped);
  }`;

describe("how much is held of what is referred to", () => {
  const span = (id: number, address: string) =>
    ({ traceId: "t", spanId: String(id), startNs: BigInt(id), attributes: { "gen_ai.input.messages_ref": address } }) as unknown as Span;
  const resolvedOf = async (spans: Span[], left: number) => {
    const asked: string[] = [];
    const reader = {
      read: (_tenant: string, address: string) => (asked.push(address), Promise.resolve(address === "none" ? null : "x".repeat(10))),
    };
    const budget = { left, isSpent: false };
    const resolved = await resolveReferences("default", { spans, logs: [] }, reader, budget);
    const read = resolved.spans.filter(({ attributes }) => attributes["gen_ai.input.messages"] !== undefined);
    return { asked, read: read.map(({ spanId }) => spanId), isSpent: budget.isSpent };
  };

  test("an address is read once, whatever comes of it", async () => {
    const spans = [span(1, "a"), span(2, "none"), span(3, "a"), span(4, "none")];
    expect(await resolvedOf(spans, 1_000)).toEqual({ asked: ["a", "none"], read: ["1", "3"], isSpent: false });
  });

  test("what is beyond the budget stays a reference, in whatever order the spans come; one text is counted as often as it is used", async () => {
    const spans = [span(1, "a"), span(2, "a"), span(3, "b"), span(4, "a"), span(5, "c")];
    const expected = { asked: ["a", "b"], read: ["1", "2", "3"], isSpent: true };
    expect(await resolvedOf(spans, 25)).toEqual(expected);
    expect(await resolvedOf(spans.toReversed(), 25)).toEqual(expected);
  });

  test("a conversation gets what it refers to, however much others refer to that are due with it; one that refers to too much does not", async () => {
    const large = JSON.stringify([say("assistant", text("Done."))]).padEnd(12 * 1024 * 1024);
    const references = { read: () => Promise.resolve(large) };
    const refer = (trace: string, ...ids: string[]) => [
      ...ids.map((id, index) => ({
        trace,
        id,
        parent: "root",
        at: [index, index + 1] as [number, number],
        attributes: { "gen_ai.operation.name": "chat", "gen_ai.output.messages_ref": "a" },
      })),
      rootSpan([0, 2_000], { trace }),
    ];
    await send([...refer("1", "i"), ...refer("2", "i"), ...refer("3", "i"), ...refer("4", "i", "j", "k", "l")]);
    const created = await createAssembler({ database, config: configured(), log: silentLog(), references }).sweep(20_000);
    const dangling = created.filter(({ verdict }) => verdict.reasons.includes("dangling_ref"));
    expect(created).toHaveLength(4);
    expect(dangling.map(({ spans }) => spans[0]?.traceId)).toEqual([traceId("4")]);
  });
});
