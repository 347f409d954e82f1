import { fc, test as propertyTest } from "@fast-check/vitest";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { checkDetector } from "../../src/cli/doctor/detector.ts";
import { parseConfig, type Config } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import type { Call } from "../../src/trace/call.ts";
import type { Message } from "../../src/trace/message.ts";
import { pseudonym } from "../../src/trace/pseudonym.ts";
import { createAssembler } from "../../src/trajectory/assembler.ts";
import { createDetector } from "../../src/trajectory/detector.ts";
import { createExaminer, type Examiner } from "../../src/trajectory/examine.ts";
import { funnelOf } from "../../src/trajectory/funnel.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { chat, ingest, rootSpan, toolSpan } from "./ingest.ts";
import { type Presidio, startPresidio } from "./presidio.ts";

const KEY = new Uint8Array(32).fill(7);
const KNOWN = {
  "Ada Lovelace": { type: "PERSON" },
  Ada: { type: "PERSON", score: 0.6 },
  Turin: { type: "LOCATION" },
  "078-05-1120": { type: "US_SSN" },
  maybe: { type: "PERSON", score: 0.3 },
  "ZX-1": { type: "SHIP" },
};
const ADA = pseudonym("person", "ada lovelace", KEY);

let presidio: Presidio;
let database: Database;
beforeAll(async () => {
  presidio = await startPresidio(KNOWN);
  database = await memoryDatabase();
});
afterEach(async () => {
  presidio.refuse(null);
  presidio.requests.length = 0;
  for (const table of [
    "spans",
    "log_events",
    "conversations",
    "conversation_traces",
    "messages",
    "trajectories",
    "tool_schemas",
  ] as const) {
    await database.kysely.deleteFrom(table).execute();
  }
});
afterAll(async () => {
  await presidio.close();
  await database.close();
});

function configured(more: object = {}): Config {
  return parseConfig({
    redaction: { detector: { driver: "presidio", url: presidio.url, timeoutMs: 2_000, ...more } },
    capture: { graceMs: 1_000, idleMs: 10_000, maxAgeMs: 100_000 },
    agents: { shop: { model: "shop-model", baseModel: "b" } },
  });
}

function detectorOf(more: object = {}, token?: string) {
  const { detector } = configured(more).redaction;
  if (detector.driver === "none") throw new Error("it is configured");
  return createDetector(detector, { token });
}

const examinerOf = (more: object = {}): Examiner => createExaminer({ detector: detectorOf(more), keyOf: () => KEY });
const say = (role: string, content: string): Message => ({ role, parts: [{ type: "text", content }] });
const inference = (input: Message[], output: Message[] = []): Call => ({ kind: "inference", input, output }) as unknown as Call;

async function examined(messages: Message[], examiner = examinerOf()): Promise<readonly Message[]> {
  const [[call] = []] = await examiner.examine([{ tenant: "default", calls: [inference(messages)] }]);
  return call?.kind === "inference" ? call.input : [];
}

describe("what the detector finds becomes pseudonyms", () => {
  test("in text, reasoning, arguments and answers of tools; of what overlaps the surest stands", async () => {
    const found = await examined([
      say("user", "I am Ada Lovelace from Turin, maybe."),
      {
        role: "assistant",
        parts: [
          { type: "reasoning", content: "Ada wants" },
          { type: "tool_call", id: "Ada", name: "Turin", arguments: { who: ["Ada  Lovelace", "Ada Lovelace"], n: 4 } },
        ],
      },
      { role: "tool", parts: [{ type: "tool_call_response", id: "Ada", response: { ssn: "078-05-1120", ship: "ZX-1" } }] },
    ]);
    expect(found).toEqual([
      say("user", `I am ${ADA} from ${pseudonym("location", "turin", KEY)}, maybe.`),
      {
        role: "assistant",
        parts: [
          { type: "reasoning", content: `${pseudonym("person", "ada", KEY)} wants` },
          { type: "tool_call", id: "Ada", name: "Turin", arguments: { who: [`${pseudonym("person", "ada", KEY)}  Lovelace`, ADA], n: 4 } },
        ],
      },
      {
        role: "tool",
        parts: [
          {
            type: "tool_call_response",
            id: "Ada",
            response: { ssn: pseudonym("id", "078-05-1120", KEY), ship: pseudonym("pii", "zx-1", KEY) },
          },
        ],
      },
    ]);
  });

  test("offsets are code points: emoji, flags and accents before a name do not move it", async () => {
    const text = "🌙👩‍👩‍👧 e\u0301 🇮🇹 Ada Lovelace 🌙 in Turin🌙";
    const [message] = await examined([say("user", text)]);
    expect(message).toEqual(say("user", `🌙👩‍👩‍👧 e\u0301 🇮🇹 ${ADA} 🌙 in ${pseudonym("location", "turin", KEY)}🌙`));
  });

  propertyTest.prop(
    [fc.array(fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom("Ada Lovelace", "Turin", "🌙")), { maxLength: 12 })],
    {
      numRuns: 30,
    },
  )("whatever stands around it, and twice is as once", async (words) => {
    const text = words.join(" ");
    const [first] = await examined([say("user", text)]);
    const place = pseudonym("location", "turin", KEY);
    const expected = text
      .replaceAll("Ada Lovelace", ADA)
      .replaceAll("Ada", pseudonym("person", "ada", KEY))
      .replaceAll("Turin", place);
    expect(first).toEqual(say("user", expected));
    expect(await examined([first as Message])).toEqual([first]);
  });

  test("a text longer than one question is examined in pieces, at blanks", async () => {
    const long = `${"word 🌙 ".repeat(4_000)}Ada Lovelace ${"x".repeat(100)}`;
    const [message] = await examined([say("user", long)]);
    expect(message).toEqual(say("user", long.replace("Ada Lovelace", ADA)));
    expect(presidio.requests.length).toBeGreaterThan(1);
    expect(presidio.requests.map(({ text }) => text).join("")).toBe(long);
  });

  test("pictures in base64 are not sent", async () => {
    await examined([
      {
        role: "user",
        parts: [
          { type: "blob", modality: "image", content: "QQ".repeat(2_000) },
          { type: "image_url", image_url: { url: "data:image/png;base64,QQ==" } },
        ],
      },
    ]);
    expect(presidio.requests).toEqual([]);
  });

  test.each([
    ["begins like a data URL", "data: my name is Ada Lovelace"],
    ["is a data URL of plain text", "data:text/plain,Ada Lovelace"],
    ["begins with a picture", "data:image/png;base64,QQ== of Ada Lovelace"],
    ["is long and has no blank but in a name", `${"QQ,".repeat(1_000)}Ada Lovelace`.replaceAll(" ", "\u2011")],
  ])("a text that %s is sent", async (_, content) => {
    await examined([say("user", content)]);
    expect(presidio.requests.map(({ text }) => text)).toEqual([content]);
  });

  test("the name of who speaks is somebody's, that of a tool is not", async () => {
    const [user, tool] = await examined([
      { ...say("user", "Hello"), name: "Ada Lovelace", finish_reason: "Turin" },
      { role: "tool", name: "Ada", parts: [{ type: "tool_call_response", id: "c1", response: "x" }] },
    ]);
    expect([user?.name, user?.["finish_reason"], tool?.name]).toEqual([ADA, "Turin", "Ada"]);
  });

  test("it is asked in the configured words, with the token", async () => {
    const detector = detectorOf({ language: "it", entities: ["PERSON"], scoreThreshold: 0.7 }, "secret-token");
    expect(await detector.find("Ada Lovelace, Turin")).toEqual([{ start: 0, end: 12, kind: "person" }]);
    expect(presidio.requests).toEqual([
      { text: "Ada Lovelace, Turin", language: "it", entities: ["PERSON"], score_threshold: 0.7, authorization: "Bearer secret-token" },
    ]);
  });
});

test("every message is sent once, however many calls repeat it, and no more at once than is allowed", async () => {
  const history = Array.from({ length: 12 }, (_, index) => say(index % 2 === 0 ? "user" : "assistant", `turn ${index} of Ada`));
  const calls = history.map((_, index) => inference(history.slice(0, index + 1)));
  const examiner = examinerOf({ concurrency: 2 });
  const [first] = await examiner.examine([{ tenant: "default", calls }]);
  expect(presidio.requests).toHaveLength(12);
  expect(presidio.mostAtOnce()).toBeLessThanOrEqual(4);
  expect(await examiner.examine([{ tenant: "default", calls }])).toEqual([first]);
  expect(presidio.requests).toHaveLength(12);
});

describe("a detector that does not answer", () => {
  test.each([
    ["503", { status: 503 }, "detector_unavailable", true],
    ["429", { status: 429 }, "detector_unavailable", true],
    ["nothing", "hang" as const, "detector_unavailable", true],
    ["500, as for a language that it lacks", { status: 500 }, "detector_refused", false],
    ["something else than JSON", { status: 200, body: "<html>" }, "detector_refused", false],
    [
      "offsets beyond the text",
      { status: 200, body: '[{"entity_type":"PERSON","start":0,"end":99,"score":1}]' },
      "detector_refused",
      false,
    ],
    [
      "offsets in the wrong order",
      { status: 200, body: '[{"entity_type":"PERSON","start":3,"end":1,"score":1}]' },
      "detector_refused",
      false,
    ],
  ])("but says %s", async (_, refusal, code, retryable) => {
    presidio.refuse(refusal);
    await expect(detectorOf({ timeoutMs: 200 }).find("Ada Lovelace")).rejects.toMatchObject({ code, retryable });
  });

  test("a failure is not remembered, and stops what waits behind it", async () => {
    const examiner = examinerOf({ concurrency: 1 });
    const messages = Array.from({ length: 20 }, (_, index) => say("user", `Ada ${index}`));
    presidio.refuse({ status: 503 });
    await expect(examined(messages, examiner)).rejects.toMatchObject({ code: "detector_unavailable" });
    expect(presidio.requests).toHaveLength(1);
    presidio.refuse(null);
    expect(await examined(messages, examiner)).toHaveLength(20);
  });
});

describe("in the assembler", () => {
  const question = say("user", "I am Ada Lovelace. Where is my order?");
  const looking: Message = {
    role: "assistant",
    parts: [{ type: "tool_call", id: "c1", name: "lookup", arguments: { name: "Ada Lovelace" } }],
  };
  const found: Message = { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: { city: "Turin" } }] };
  const CONVERSATION = [
    chat("i1", [100, 1_000], [say("system", "s"), question], [looking]),
    toolSpan("x1", [1_100, 1_500], "lookup", "c1"),
    chat("i2", [1_600, 2_500], [say("system", "s"), question, looking, found], [say("assistant", "In Turin, Ada Lovelace.")]),
    rootSpan([0, 3_000]),
  ];
  const assemblerOf = (examiner: Examiner) => createAssembler({ database, config: configured(), log: silentLog(), examiner });

  test("nothing that it finds is saved; one name has one pseudonym in the conversation", async () => {
    await ingest(database, configured().agents, CONVERSATION, 1_000);
    const [trajectory, ...others] = await assemblerOf(examinerOf()).sweep(5_000);
    expect(others).toEqual([]);
    expect(trajectory?.messages.map(({ parts }) => parts[0])).toMatchObject([
      { content: "s" },
      { content: "I am <person_1>. Where is my order?" },
      { arguments: { name: "<person_1>" } },
      { response: { city: "<location_1>" } },
      { content: "In <location_1>, <person_1>." },
    ]);
    const saved = await database.kysely.selectFrom("messages").selectAll().execute();
    expect(JSON.stringify(saved)).not.toMatch(/Lovelace|Turin/);
  });

  test("while it is down the conversation waits; when it answers, it is saved, once", async () => {
    await ingest(database, configured().agents, CONVERSATION, 1_000);
    const assembler = assemblerOf(examinerOf());
    presidio.refuse({ status: 503 });
    await expect(assembler.sweep(5_000)).rejects.toMatchObject({ code: "detector_unavailable" });
    expect(await funnelOf(database.kysely, { tenant: "default" })).toMatchObject({ captured: 1, complete: 0 });
    expect(await database.kysely.selectFrom("messages").selectAll().execute()).toEqual([]);
    presidio.refuse(null);
    expect(await assembler.sweep(6_000)).toHaveLength(1);
    expect(await assembler.sweep(7_000)).toEqual([]);
  });

  test("a text that it cannot examine puts its own conversation aside, no other", async () => {
    const poison = [
      chat("p1", [100, 900], [say("user", "poison")], [say("assistant", "x")], { trace: "2" }),
      rootSpan([0, 1_000], { trace: "2" }),
    ];
    await ingest(database, configured().agents, [...CONVERSATION, ...poison], 1_000);
    const real = detectorOf();
    const { nightshiftError } = await import("../../src/errors.ts");
    const picky = createExaminer({
      keyOf: () => KEY,
      detector: {
        find: (text, options) =>
          text.includes("poison")
            ? Promise.reject(nightshiftError("detector_refused", { url: "u", problem: "HTTP 500" }))
            : real.find(text, options),
      },
    });
    expect(await assemblerOf(picky).sweep(5_000)).toHaveLength(1);
    expect(await funnelOf(database.kysely, { tenant: "default" })).toMatchObject({ captured: 2, complete: 1 });
  });
});

test("doctor asks it", async () => {
  expect(await checkDetector(parseConfig({}))).toEqual([]);
  expect(await checkDetector(configured())).toMatchObject([{ status: "ok", message: `${presidio.url} examines texts in en` }]);
  presidio.refuse({ status: 500 });
  expect(await checkDetector(configured())).toMatchObject([{ status: "bad", fix: expect.stringMatching(/language/) as string }]);
  expect(await checkDetector(configured({ tokenFile: "/nonexistent" }))).toMatchObject([{ status: "bad" }]);
});
