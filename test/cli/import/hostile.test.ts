import { closeSync, existsSync, mkdtempSync, readdirSync, readlinkSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { fc, test as propertyTest } from "@fast-check/vitest";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli } from "../terminal.ts";
import { jsonRequests, prefixed, recorded } from "./otlp-files.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-import-"));
let unhandled = 0;
const count = () => unhandled++;
beforeAll(() => process.on("unhandledRejection", count));
afterAll(() => {
  process.off("unhandledRejection", count);
  rmSync(dir, { recursive: true });
});

let files = 0;
function file(content: string | Uint8Array): string {
  const path = join(dir, `${files++}.bin`);
  writeFileSync(path, content);
  return path;
}

const dryRun = (path: string, ...args: string[]) => cli(["import", "--dry-run", "--json", path, ...args]);
const GOOD = '{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}';

describe("a bad record costs only itself, and is told without its content", () => {
  const SECRET = "hunter2-in-a-conversation";
  test.each([
    ["cut off", `{"messages":[{"role":"user","content":"${SECRET}`, /:2: it is not valid JSON \(\d+ characters\)/],
    ["no object", `["${SECRET}"]`, /:2: a record is an object \(received a list of 1\)/],
    ["of no format", `{"name":"${SECRET}","value":1}`, /:2: it is none of the formats \(received an object with name, value\)/],
    ["no messages", '{"messages":[]}', /:2: messages is no list of messages \(received a list of 0\)/],
    ["a message that is none", `{"messages":["${SECRET}"]}`, /:2: messages\[0\] is no message \(received a text of 25 characters\)/],
    ["a role that is none", `{"messages":[{"role":7,"content":"${SECRET}"}]}`, /:2: messages\[0\]\.role is no text \(received a number\)/],
    [
      "a time that is none",
      `{"created":"${SECRET}","messages":[{"role":"user","content":"x"}]}`,
      /:2: the time is no time \(received a text/,
    ],
    [
      "OTLP with a field of another kind",
      `{"resourceSpans":{"x":"${SECRET}"}}`,
      /:2: the OTLP request cannot be read: request\.resourceSpans: expected an array/,
    ],
    ["metrics", '{"resourceMetrics":[]}', /:2: it has neither resourceSpans nor resourceLogs/],
    [
      "deep",
      `{"messages":[{"role":"user","content":"x"}],"tools":[{"function":{"name":"f","parameters":{"p":${"[".repeat(50_000)}${"]".repeat(50_000)}}}}]}`,
      /:2: its values are nested too deeply/,
    ],
    ["no UTF-8", Buffer.concat([Buffer.from('{"messages":"'), Uint8Array.of(0xff, 0xfe), Buffer.from('"}')]), /:2: it is not valid UTF-8/],
  ])("%s", async (_, line, says) => {
    const content = Buffer.concat([Buffer.from(`${GOOD}\n`), Buffer.from(line), Buffer.from(`\n${GOOD.replace("q", "r")}\n`)]);
    const { code, out, err } = await dryRun(file(content));
    expect(err).toMatch(says);
    expect(err).toMatch(/\n {2}fix: \S/);
    expect(err + out).not.toContain(SECRET);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ recordsBad: 1, spans: 2 });
  });

  test("--strict stops there, after what came before it", async () => {
    const { code, out, err } = await dryRun(file(`${GOOD}\nnonsense\n${GOOD.replace("q", "r")}\n`), "--strict");
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ recordsBad: 1, spans: 1 });
    expect(err).toContain(":2: it is not valid JSON");
  });

  test("of many bad lines twenty are told and all are counted", async () => {
    const { out, err } = await dryRun(file("{}\n".repeat(5_000)));
    expect(JSON.parse(out)).toMatchObject({ recordsBad: 5_000 });
    expect(err.split("\n")).toHaveLength(41);
  });

  test("a line over the limit is passed over without being held", async () => {
    const path = join(dir, "long.jsonl");
    const handle = openSync(path, "w");
    writeSync(handle, `${GOOD}\n{"messages":"`);
    for (let index = 0; index < 64; index++) writeSync(handle, "x".repeat(65_536));
    writeSync(handle, `"}\n${GOOD.replace("q", "r")}\n`);
    closeSync(handle);
    const { out, err } = await dryRun(path, "--max-record-bytes", "100000");
    expect(err).toMatch(/:2: the record has 4194\d{3} bytes or more, 100000 are taken/);
    expect(JSON.parse(out)).toMatchObject({ recordsBad: 1, spans: 2 });
  });
});

describe("files that are none", () => {
  test.each([
    ["empty", "", 0],
    ["blank", "\n\n \n", 1],
    ["CSV", "id,input\n1,x\n", 1],
    ["random bytes", Uint8Array.from({ length: 500 }, (_, index) => (index * 7919) % 251), 1],
    ["a bare length", Uint8Array.of(0, 0, 1), 1],
    ["UTF-16", Buffer.from(`\uFEFF${GOOD}`, "utf16le"), 1],
  ])("%s", async (_, content, code) => {
    expect((await dryRun(file(content))).code).toBe(code);
  });

  test.each([
    ["a missing one", () => join(dir, "nowhere"), /cannot be read: ENOENT/],
    ["a directory", () => dir, /cannot be read: it is a directory/],
    ["cut-off gzip", () => file(gzipSync(`${GOOD}\n`.repeat(100)).subarray(0, -20)), /cannot be read: /],
    ["cut-off zstd", () => file(zstdCompressSync(Buffer.from(`${GOOD}\n`.repeat(100))).subarray(0, -9)), /cannot be read: /],
    [
      "zstd with something behind it",
      () => file(Buffer.concat([zstdCompressSync(Buffer.from(GOOD)), Buffer.from("rest of it")])),
      /no zstd frame/,
    ],
  ])("%s ends the import with the reason", async (_, path, says) => {
    const { code, err } = await dryRun(path());
    expect(code).toBe(1);
    expect(err).toMatch(says);
    expect(err).toMatch(/\n {2}fix: /);
  });
});

test("keys that would reach a prototype are left out", async () => {
  const { code } = await dryRun(file('{"__proto__":{"messages":[]},"constructor":{"x":1},"messages":[{"role":"user","content":"x"}]}'));
  expect(code).toBe(0);
  expect(Object.prototype).not.toHaveProperty("x");
});

const otlp = jsonRequests("openinference-openai");
const SEEDS: readonly Uint8Array[] = [
  Buffer.from(`${GOOD}\n${otlp.map((request) => JSON.stringify(request)).join("\n")}\n`),
  Buffer.from(JSON.stringify([JSON.parse(GOOD), ...otlp], null, 2)),
  recorded("openinference-openai", "traces"),
  Buffer.concat([
    prefixed(recorded("openinference-openai", "traces")),
    prefixed(zstdCompressSync(recorded("opentelemetry-openai", "logs"))),
  ]),
  gzipSync(`${GOOD}\n`.repeat(50)),
  Buffer.concat([zstdCompressSync(Buffer.from(`${GOOD}\n`)), zstdCompressSync(Buffer.from(`${GOOD}\n`))]),
];

/** Paths of what this process has open, where the system tells. */
function openFiles(): string[] {
  const list = "/proc/self/fd";
  if (!existsSync(list)) return [];
  return readdirSync(list).flatMap((fd) => {
    try {
      return [readlinkSync(join(list, fd))];
    } catch {
      return [];
    }
  });
}

const edit = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  kind: fc.constantFrom("change", "cut", "double", "insert", "end"),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 6 }),
});

function mutate(body: Uint8Array, edits: readonly { at: number; kind: string; bytes: Uint8Array }[]): Uint8Array {
  return edits.reduce<Uint8Array>((current, { at, kind, bytes }) => {
    const position = Math.floor(at * current.length);
    const [head, tail] = [current.subarray(0, position), current.subarray(position)];
    if (kind === "end") return head;
    if (kind === "cut") return Buffer.concat([head, tail.subarray(bytes.length)]);
    if (kind === "double") return Buffer.concat([head, tail, tail]);
    if (kind === "insert") return Buffer.concat([head, bytes, tail]);
    return Buffer.concat([head, bytes, tail.subarray(bytes.length)]);
  }, body);
}

propertyTest.prop([fc.nat(SEEDS.length - 1), fc.array(edit, { minLength: 1, maxLength: 4 })], { numRuns: 1_000 })(
  "damaged files end in a summary, whatever the damage, and leave no file open",
  async (seed, edits) => {
    const path = file(mutate(SEEDS[seed] ?? new Uint8Array(), edits));
    const { code, out, err } = await dryRun(path);
    const { recordsBad } = JSON.parse(out) as { recordsBad: number };
    expect([0, 1]).toContain(code);
    if (code === 1) expect(recordsBad > 0 || /cannot be read|refused/.test(err)).toBe(true);
    expect(unhandled).toBe(0);
    expect(openFiles()).not.toContain(path);
    rmSync(path);
  },
);
