import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { fc, test as propertyTest } from "@fast-check/vitest";
import { decodeStoredSpan } from "../../../src/trace/decode.ts";
import { apiWorld } from "../../api/world.ts";
import { RECORDINGS } from "../../fixtures/otlp/recordings.ts";
import { FINAL_ANSWER } from "../../fixtures/otlp/sdk/scenario.ts";
import { cli } from "../terminal.ts";
import { jsonRequests, prefixed, recorded } from "./otlp-files.ts";
import { importWorld, type ImportWorld } from "./world.ts";

let world: ImportWorld;
beforeAll(async () => {
  world = await importWorld();
});
afterEach(() => world.clear());
afterAll(() => world.close());

const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const lines = (requests: readonly object[]) => requests.map((request) => `${JSON.stringify(request)}\n`).join("");

/** One recording as files; between them all ways in which OTLP is written to disk. */
const FORMS: Readonly<Record<string, (sdk: string) => (string | Uint8Array)[]>> = {
  "plain protobuf requests": (sdk) => [recorded(sdk, "traces"), recorded(sdk, "logs")],
  "JSON lines": (sdk) => [lines(jsonRequests(sdk))],
  "JSON lines without a last line break, with blank ones and a byte order mark": (sdk) => [
    `\uFEFF\n${lines(jsonRequests(sdk)).replaceAll("\n", "\r\n\r\n").trimEnd()}`,
  ],
  "one request over several lines per file": (sdk) => jsonRequests(sdk).map((request) => JSON.stringify(request, null, 2)),
  "an array": (sdk) => [JSON.stringify(jsonRequests(sdk), null, 1)],
  "length-prefixed protobuf": (sdk) => [Buffer.concat([prefixed(recorded(sdk, "traces")), prefixed(recorded(sdk, "logs"))])],
  "length-prefixed protobuf, each message in zstd": (sdk) => [
    Buffer.concat([prefixed(zstdCompressSync(recorded(sdk, "traces"))), prefixed(zstdCompressSync(recorded(sdk, "logs")))]),
  ],
  "length-prefixed JSON, each message in zstd": (sdk) => [
    Buffer.concat(jsonRequests(sdk).map((request) => prefixed(zstdCompressSync(bytes(request))))),
  ],
  "JSON lines in gzip": (sdk) => [gzipSync(lines(jsonRequests(sdk)))],
  "JSON lines in zstd": (sdk) => [zstdCompressSync(Buffer.from(lines(jsonRequests(sdk))))],
  "JSON lines in several gzip members": (sdk) => [
    Buffer.concat(jsonRequests(sdk).map((request) => gzipSync(`${JSON.stringify(request)}\n`))),
  ],
  "JSON lines in several zstd frames": (sdk) => [
    Buffer.concat(jsonRequests(sdk).map((request) => zstdCompressSync(Buffer.from(`${JSON.stringify(request)}\n`)))),
  ],
  "length-prefixed protobuf in zstd": (sdk) => [
    zstdCompressSync(Buffer.concat([prefixed(recorded(sdk, "traces")), prefixed(recorded(sdk, "logs"))])),
  ],
};

/** Content on spans, and in log events. */
const RECORDED = ["openinference-openai", "opentelemetry-openai"] as const;

describe.each(RECORDED)("a recording of %s", (sdk) => {
  test.each(Object.keys(FORMS))("as %s becomes its conversation", async (form) => {
    const files = (FORMS[form]?.(sdk) ?? []).filter((content) => content.length > 0).map((content) => world.file("otlp", content));
    const { code, err } = await world.run([...files, "--consent", "true", "--json"]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const [trajectory, ...others] = await world.trajectories();
    expect(others).toEqual([]);
    expect(trajectory?.messages.map(({ role }) => role)).toEqual([
      ...["system", "user", "assistant", "tool", "tool", "assistant", "tool", "tool", "assistant"],
    ]);
    expect(trajectory?.messages.at(-1)?.parts).toEqual([{ type: "text", content: FINAL_ANSWER }]);
    expect(trajectory?.verdict.reasons).toEqual(RECORDINGS[sdk]?.reasons);
  });
});

propertyTest.prop(
  [fc.shuffledSubarray(jsonRequests("openinference-openai"), { minLength: 1 }), fc.integer({ min: 1, max: 4 }), fc.boolean()],
  {
    numRuns: 12,
  },
)("any order, split and repetition of the lines gives the same trajectory", async (shuffled, parts, twice) => {
  await world.clear();
  const all = jsonRequests("openinference-openai");
  const order = [...shuffled, ...all.filter((request) => !shuffled.includes(request)), ...(twice ? shuffled : [])];
  const size = Math.ceil(order.length / parts);
  const files = Array.from({ length: parts }, (_, part) => order.slice(part * size, (part + 1) * size)).filter((part) => part.length > 0);
  expect((await world.run(files.map((part) => world.file("part.jsonl", lines(part))))).code).toBe(0);
  const found = await world.trajectories();
  await world.clear();
  expect((await world.run([world.file("whole.jsonl", lines(all))])).code).toBe(0);
  const expected = await world.trajectories();
  expect(found).toHaveLength(1);
  expect(found).toEqual(expected);
});

test("a second import stores nothing twice and makes no new version", async () => {
  const file = world.file("twice.jsonl", lines(jsonRequests("openinference-openai")));
  await world.run([file]);
  const first = await world.trajectories();
  const spans = await world.count("spans");
  await world.run([file]);
  expect(await world.trajectories()).toEqual(first);
  expect(await world.count("spans")).toBe(spans);
  expect(await world.count("trajectories")).toBe(1);
});

test("from the file to the report: what it lacks is said with its mend", async () => {
  const file = world.file("traces.pb", recorded("opentelemetry-openai", "traces"));
  const logs = world.file("logs.pb", recorded("opentelemetry-openai", "logs"));
  expect((await world.run([file, logs])).out).toMatch(/records +2 otlp\ntraces +\d+\ntaken +\d+ spans, \d+ log records, in 2 requests/);
  await world.trajectories();
  const api = await apiWorld(world.database);
  try {
    const { code, out } = await cli(["report", "--url", api.url, "--agent", "support"]);
    expect(code).toBe(0);
    expect(out).toMatch(/captured +1\nopen +0\ncomplete +1 \(100\.0 %\)\ntrainable +0/);
    expect(out).toMatch(/no_consent \(1\)\n {2}fix: /);
  } finally {
    await api.close();
  }
});

test("--service-name and --consent hold for what the file does not say", async () => {
  const [request] = jsonRequests("openinference-openai");
  const file = world.file("one.jsonl", lines([request as object]));
  await world.run([file, "--service-name", "shop", "--consent", "true"]);
  const [trajectory] = await world.trajectories();
  expect(trajectory?.verdict.reasons).not.toContain("no_consent");
  const { raw } = await world.database.kysely.selectFrom("spans").select("raw").executeTakeFirstOrThrow();
  expect(decodeStoredSpan(raw)?.resource).toMatchObject({ "service.name": "shop", "nightshift.consent": true });
});

test("--consent does not overrule a refusal that the file has", async () => {
  const [request] = jsonRequests("openinference-openai") as [{ resourceSpans: { resource: { attributes: object[] } }[] }];
  const refused = structuredClone(request);
  for (const { resource } of refused.resourceSpans) resource.attributes.push({ key: "nightshift.consent", value: { boolValue: false } });
  await world.run([world.file("refused.jsonl", lines([refused])), "--consent", "true"]);
  const { raw } = await world.database.kysely.selectFrom("spans").select("raw").executeTakeFirstOrThrow();
  expect(decodeStoredSpan(raw)?.resource).toMatchObject({ "nightshift.consent": false });
});
