import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { decodeLogs, decodeSpans } from "../../src/trace/decode.ts";
import { normalise } from "../../src/trace/normalise.ts";
import { redactRequest, rewriteTexts } from "../../src/trace/redact-request.ts";
import { scanRequest } from "../../src/trace/scan.ts";
import { concatBytes, lengthDelimited } from "../../src/trace/wire.ts";
import { REDACTION_KEY } from "../collector/capture.ts";
import { anyValue, logJson, logRequest, protobuf, spanJson, traceRequest, type Value } from "../fixtures/otlp/build.ts";

const redact = (bytes: Uint8Array, signal: "traces" | "logs" = "traces") => redactRequest(bytes, signal, REDACTION_KEY);
const EMAIL = /^<email_[a-z2-7]{8}>$/;

test("clean bytes come back as the same array, unknown fields and all", async () => {
  const body = concatBytes([
    protobuf(traceRequest([spanJson({ attributes: { "user.id": "u-1" } })])),
    lengthDelimited(99, [Buffer.from("future")]),
  ]);
  expect(await redact(body)).toBe(body);
});

test("names, statuses, events, resources, nested values and keys are read", async () => {
  const mail = "bob@example.com";
  const body = protobuf(
    traceRequest(
      [
        spanJson({
          name: mail,
          status: { code: 2, message: mail },
          events: [{ name: mail, attributes: [{ key: "x", value: anyValue(mail) }] }],
          attributes: { list: [1, mail], nested: { [mail]: { deep: mail } }, untouched: "A1234" },
        }),
      ],
      { resource: { "service.name": "shop", owner: mail } },
    ),
  );
  const redacted = await redact(body);
  expect(Buffer.from(redacted).includes("example.com")).toBe(false);
  const span = decodeSpans(redacted)[0]!.value;
  const name = span.name;
  expect(name).toMatch(EMAIL);
  expect(span).toMatchObject({
    statusMessage: name,
    events: [{ name, attributes: { x: name } }],
    attributes: { list: [1, name], nested: { [name]: { deep: name } }, untouched: "A1234" },
    resource: { "service.name": "shop", owner: name },
  });
});

test.each([-100, -60, -20, -1, 0, 1, 20])("what lies %i bytes from where one look at the bytes ends is seen", async (offset) => {
  const secret = `postgres://user:${"p4ssw0rd".repeat(8)}@db.example.com/x`;
  const text = (filler: number): Uint8Array =>
    protobuf(traceRequest([spanJson({ attributes: { text: `${"x".repeat(filler)} ${secret}` } })]));
  const at = Buffer.from(text(0)).indexOf("postgres");
  const redacted = Buffer.from(await redact(text(64 * 1024 - at + offset)));
  expect(redacted.includes("p4ssw0rd")).toBe(false);
});

test("a request has more edits than a call may have arguments", async () => {
  const attributes = Object.fromEntries(Array.from({ length: 30_000 }, (_, index) => [`k${index}`, "before"]));
  const rewrite = { looksAt: (text: string) => text === "before", rewrite: () => Promise.resolve("behind it") };
  const rewritten = await rewriteTexts(protobuf(traceRequest([spanJson({ attributes })])), "traces", rewrite);
  const { attributes: changed } = decodeSpans(rewritten)[0]!.value;
  expect(new Set(Object.values(changed))).toEqual(new Set(["behind it"]));
  expect(Object.keys(changed)).toHaveLength(30_000);
});

test("log bodies, plain and structured", async () => {
  const body = protobuf(logRequest([logJson("gen_ai.tool.message", { id: "call_1", content: '{"to":"bob@example.com"}' })]), "logs");
  const log = decodeLogs(await redact(body, "logs"))[0]!.value;
  expect(log.body).toEqual({ id: "call_1", content: expect.stringMatching(/^\{"to":"<email_[a-z2-7]{8}>"\}$/) as string });
});

test("unknown fields around a redacted one stay byte for byte", async () => {
  const future = lengthDelimited(77, [Buffer.from("from a newer protocol")]);
  const attribute = lengthDelimited(9, [
    lengthDelimited(1, [Buffer.from("k")]),
    lengthDelimited(2, [lengthDelimited(1, [Buffer.from("a@b.co")])]),
  ]);
  const ids = concatBytes([lengthDelimited(1, [Buffer.alloc(16, 1)]), lengthDelimited(2, [Buffer.alloc(8, 1)])]);
  const body = lengthDelimited(1, [lengthDelimited(2, [lengthDelimited(2, [ids, future, attribute, future]), future]), future]);
  const redacted = Buffer.from(await redact(body));
  expect(redacted.toString("latin1").split("from a newer protocol")).toHaveLength(5);
  expect(decodeSpans(redacted)[0]?.value.attributes["k"]).toMatch(EMAIL);
});

describe("what cannot be read is emptied and flagged", () => {
  const unreadable = '{"cut": "bob\\u0040example.com';

  test("in a span: only that span's call is damaged", async () => {
    const spans = [spanJson({ attributes: { "input.value": unreadable, other: "kept" } }), spanJson({ spanId: "00000000000000aa" })];
    const [broken, intact] = decodeSpans(await redact(protobuf(traceRequest(spans)))).map(({ value }) => value);
    expect(broken!.attributes).toEqual({ "nightshift.pii_unredacted": true, "input.value": "", other: "kept" });
    expect(normalise(broken!, []).damage).toEqual(["pii_unredacted"]);
    expect(normalise(intact!, []).damage).toEqual([]);
  });

  test("in a log event: its span's call is damaged", async () => {
    const body = protobuf(logRequest([logJson("gen_ai.user.message", { content: unreadable })]), "logs");
    const logs = decodeLogs(await redact(body, "logs")).map(({ value }) => value);
    const span = decodeSpans(protobuf(traceRequest([spanJson()])))[0]!.value;
    expect(normalise(span, logs).damage).toEqual(["pii_unredacted"]);
  });
});

const leaf = fc.oneof(
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.constantFrom("bob@example.com", "4111 1111 1111 1111", '{"a":"+49 151 23456789"}'),
);
const value = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    leaf,
    fc.integer(),
    fc.boolean(),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(leaf, tie("value"), { maxKeys: 3 }),
  ),
})).value;

property.prop([fc.array(fc.dictionary(leaf, value, { maxKeys: 4 }), { maxLength: 4 })], { numRuns: 150 })(
  "a redacted request is well-formed, has the same spans, and is stable",
  async (spans) => {
    const ids = spans.map((_, index) => (index + 1).toString(16).padStart(16, "0"));
    const body = protobuf(traceRequest(spans.map((attributes, index) => spanJson({ spanId: ids[index]!, attributes }))));
    const once = await redact(body);
    expect(scanRequest(once, "traces")).toEqual(scanRequest(body, "traces"));
    expect(decodeSpans(once).map(({ value: span }) => span.spanId)).toEqual(ids);
    expect(Buffer.from(once).includes("bob@example.com")).toBe(false);
    expect(await redact(once)).toBe(once);
  },
);
