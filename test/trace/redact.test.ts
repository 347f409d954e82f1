import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { PSEUDONYM } from "../../src/trace/pseudonym.ts";
import { redactText, Unredactable } from "../../src/trace/redact.ts";
import { REDACTION_KEY } from "../collector/capture.ts";

/** Of OpenAI's form; no word's letter may stand before it. */
const SK = ["sk-a1B2c3D4e5F6g7H8i9J0", "T3BlbkFJ", "k1L2m3N4o5P6q7R8s9T0"].join("");

const redact = (text: string) => redactText(text, REDACTION_KEY);
/** Pseudonyms by kind only, for tables that a person reads. */
const shape = async (text: string) => (await redact(text)).replaceAll(/<(\w+)_[a-z2-7]{8}>/g, "<$1>");

describe("what is taken out", () => {
  test.each([
    ["Write to bob@example.com.", "Write to <email>."],
    ["<bob.o'neil+shop@mail.example.co.uk>", "<<email>>"],
    ["jürgen@münchen.de wrote", "<email> wrote"],
    ["a@b.co,c@d.io", "<email>,<email>"],
    ["Call +49 151 2345 6789 now", "Call <phone> now"],
    ["Call +1 (555) 123-4567.", "Call <phone>."],
    ["(555) 123-4567 or 555-123-4567", "<phone> or <phone>"],
    ["Tel. 030/1234567", "Tel. <phone>"],
    ["card 4111 1111 1111 1111 12/27", "card <card> 12/27"],
    ["card 5500-0000-0000-0004", "card <card>"],
    ["378282246310005", "<card>"],
    ["1234 4111111111111111", "1234 <card>"],
    ["IBAN DE89 3704 0044 0532 0130 00 bitte", "IBAN <iban> bitte"],
    ["BE68 5390 0754 7034 SEND", "<iban> SEND"],
    ["from 203.0.113.7:8080", "from <ip>:8080"],
    ["via 2001:db8::8a2e:370:7334", "via <ip>"],
    ["AWS_SECRET_ACCESS_KEY = wJalrXUtnFEMIK7MDENGbPxRfiCYzXAMPLEKEYab", "<secret>"],
    ["token ghp_16C7e42F292c6912E7710c838347Ae178B4a", "token <secret>"],
    ["secretlint-disable ghp_16C7e42F292c6912E7710c838347Ae178B4a", "secretlint-disable <secret>"],
  ])("%s", async (text, expected) => {
    expect(await shape(text)).toBe(expected);
  });
});

describe("what stays", () => {
  test.each([
    "order A1234, ticket 12345678, invoice 2026-00017",
    "2026-11-21T10:00:00.123+01:00 and 21.11.2026 09:30:15",
    "1,234,567.89 EUR or $ 1299.00 or 1 250 000",
    "1763725380000000001 ns, 1763725380123 ms",
    "550e8400-e29b-41d4-a716-446655440000",
    "0af7651916cd43dd8448eb211c80319c",
    "4111 1111 1111 1112 fails Luhn",
    "http://127.0.0.1:4318/v1/traces and ::1",
    "@decorator, user@, foo @ bar",
    "std::vector a::b task-force risk-free",
    "DE00 3704 5544 7532 9130 55",
  ])("%s", async (text) => {
    expect(await redact(text)).toBe(text);
  });
});

test("the same value has the same pseudonym in every spelling, and another under another key", async () => {
  const [plain, spelled] = [await redact("+4915123456789"), await redact("+49 (151) 23456789")];
  expect(plain).toBe(spelled);
  expect(await redact("Bob@Example.com")).toBe(await redact("bob@example.com"));
  expect(await redactText("bob@example.com", Buffer.alloc(32, 1))).not.toBe(await redact("bob@example.com"));
});

describe("inside JSON", () => {
  test.each([
    ['{"to":"bob@example.com", "n": 1.0}', '{"to":"<email>", "n": 1.0}'],
    ['{"text":"hi\\nbob@example.com"}', '{"text":"hi\\n<email>"}'],
    ['{"text":"bob\\u0040example.com"}', '{"text":"<email>"}'],
    ['{"card": 4111111111111111, "id": 4111111111111112}', '{"card": "<card>", "id": 4111111111111112}'],
    ['{"bob@example.com": [1, 2]}', '{"<email>": [1, 2]}'],
    ['[{"arguments":"{\\"mail\\":\\"bob@example.com\\"}"}]', '[{"arguments":"{\\"mail\\":\\"<email>\\"}"}]'],
    ['{"cut": "bob@example.com, an', '{"cut": "<email>, an'],
    // Escapes end in letters, which are no part of what stands behind them.
    [`{"key":"\\n${SK}"}`, '{"key":"\\n<secret>"}'],
    [`[{"arguments":"{\\"key\\":\\"a\\\\n${SK}\\"}"}]`, '[{"arguments":"{\\"key\\":\\"a\\\\n<secret>\\"}"}]'],
    [`{"a":"x","cut": "one\\n${SK}, an`, '{"a":"x","cut": "one\\n<secret>, an'],
    [
      '{"cut": "one\\nbob@example.com\\t4111 1111 1111 1111\\rDE89370400440532013000\\n203.0.113.7\\n555-123-4567, an',
      '{"cut": "one\\n<email>\\t<card>\\r<iban>\\n<ip>\\n<phone>, an',
    ],
    ['[{"arguments":"{\\"mail\\":\\"to\\\\nbob@example.com\\\\n', '[{"arguments":"{\\"mail\\":\\"to\\\\n<email>\\\\n'],
    ['{"whole":"a\\nbob@example.com","cut": "b\\\\', '{"whole":"a\\n<email>","cut": "b\\\\'],
    ['{"cut": "b\\nbob@example.com \\u21', '{"cut": "b\\n<email> \\u21'],
    ['["note] said "hi\\nbob@example.com" to bob@example.com', '["note] said "hi\\n<email>" to <email>'],
    // As a serializer writes it that keeps to ASCII: the last digit of the quotation mark's code is no part of the key.
    [`{"key":"\\u201c${SK}\\u201d"}`, '{"key":"“<secret>”"}'],
    [`[{"arguments":"{\\"key\\":\\"\\\\u20ac${SK}\\"}"}]`, '[{"arguments":"{\\"key\\":\\"€<secret>\\"}"}]'],
    [`["note] said "hi\\ud83d\\ude00${SK}\\u000a4111 1111 1111 1111`, '["note] said "hi\\ud83d\\ude00<secret>\\u000a<card>'],
  ])("%s", async (text, expected) => {
    expect(await shape(text)).toBe(expected);
  });

  test.each([
    ['```json\n{"card":"pay\\n4111 1111 1111 1111"}\n```', '```json\n{"card":"pay\\n<card>"}\n```'],
    ['data: {"ip":"from\\n203.0.113.7"}\n\n', 'data: {"ip":"from\\n<ip>"}\n\n'],
    ['It said {"mail":"bob\\u0040example.com"}', 'It said {"mail":"<email>"}'],
    [`ent":"\\nDE89370400440532013000","key":"\\n${SK}"}`, 'ent":"\\n<iban>","key":"\\n<secret>"}'],
    ['It said {"a":"{\\"b\\":\\"\\\\n555-123-4567\\"}"}', 'It said {"a":"{\\"b\\":\\"\\\\n<phone>\\"}"}'],
    ["line one\\n555-123-4567\\tend", "line one\\n<phone>\\tend"],
  ])("%s", async (text, expected) => {
    expect(await shape(text)).toBe(expected);
  });

  test("an address and its escaped spelling get the same pseudonym", async () => {
    const [first, second] = [await redact("bob@example.com"), await redact('"x\\nbob\\u0040example.com"')];
    expect(second).toBe(JSON.stringify(`x\n${first}`));
  });

  test("what cannot be read fails closed", async () => {
    await expect(redact('{"cut": "bob\\u0040example.com')).rejects.toBeInstanceOf(Unredactable);
    let nested = "bob@example.com";
    for (let depth = 0; depth < 8; depth++) nested = JSON.stringify({ nested });
    await expect(redact(nested)).rejects.toBeInstanceOf(Unredactable);
  });
});

const piece = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.constantFrom("bob@example.com", "+49 151 23456789", "4111 1111 1111 1111", "DE89370400440532013000", "203.0.113.7", "555-123-4567"),
  fc.constantFrom(
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "postgres://u:p4ssw0rd@db.example.com/x",
    "@",
    "+",
    "-",
    " ",
    "0",
    "<email_abcdefgh>",
    '"',
    "\\",
  ),
);
const dirty = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""));
const dirtyJson = fc
  .jsonValue({ maxDepth: 3, stringUnit: "binary" })
  .chain((value) => dirty.map((text) => JSON.stringify({ [text]: [text, value, JSON.stringify({ text })] })));

property.prop([fc.oneof(dirty, dirtyJson)], { numRuns: 300 })("redacting twice is redacting once", async (text) => {
  const once = await redact(text);
  expect(await redact(once)).toBe(once);
});

property.prop([dirtyJson, fc.nat(400)], { numRuns: 300 })("so it is of JSON that was cut off anywhere", async (text, length) => {
  const once = await redact(text.slice(0, length)).catch((error: unknown) => {
    expect(error).toBeInstanceOf(Unredactable);
    return null;
  });
  if (once !== null) expect(await redact(once)).toBe(once);
});

const VALUES = [
  ...["bob@example.com", "+49 151 23456789", "4111 1111 1111 1111", "DE89370400440532013000", "203.0.113.7", "555-123-4567"],
  ...["ghp_16C7e42F292c6912E7710c838347Ae178B4a", SK],
];
property.prop([
  fc.shuffledSubarray(VALUES, { minLength: 1 }),
  fc.constantFrom("\n", "\t", "\r", "\f", "\b"),
  fc.integer({ min: 1, max: 3 }),
  fc.nat(5),
])(
  "whatever escape stands before it and however often JSON is quoted in JSON, nothing survives a cut",
  async (values, before, quotes, cut) => {
    let text = `${before}${values.join(before)}${before}, and so on`;
    for (let quote = 0; quote < quotes; quote++) text = JSON.stringify({ text });
    const redacted = await redact(text.slice(0, -1 - cut));
    for (const value of values) expect(redacted).not.toContain(value);
  },
);

property.prop([
  fc.shuffledSubarray(VALUES, { minLength: 1 }),
  fc.constantFrom("\\n", "\\t", "\\r", "\\f", "\\b", "\\u000a", "\\u201c", "\\u20AC", "\\u2028", "\\ud83d\\ude00"),
  fc.constantFrom("", "```json\n", "data: ", "It said: ", 'he said "so" and ', 'odd " quote '),
  fc.constantFrom('{"text":"one', '[{"role":"user","content":"one', 'ent":"one', '["note] said "one'),
  fc.constantFrom("", " an", ' end"}', ' end", "n": 1}\n', ' \\x"}'),
])("however an escape is spelled and whatever JSON stands behind, nothing survives", async (values, escape, before, start, end) => {
  const text = `${before}${start}${escape}${values.join(escape)}${escape}${end}`;
  const redacted = await redact(text).catch((error: unknown) => {
    expect(error).toBeInstanceOf(Unredactable);
    return "";
  });
  for (const value of values) expect(redacted).not.toContain(value);
  expect(await redact(redacted)).toBe(redacted);
});

test("what stands glued to something redacted is found, however many there are", async () => {
  const glued = "bob@example.com203.0.113.7+49 151 23456789+49 151 23456789+49 151 23456789";
  expect(await redact(glued)).toMatch(/^<email_\w+><ip_\w+>(<phone_\w+>)\1\1$/);
  expect(await redact("+49 151 23456789".repeat(1_000))).toMatch(/^(<phone_\w+>)\1{999}$/);
  expect(await redact("bob@example.com203.0.113.7".repeat(20))).not.toMatch(/example|203/);
  expect(await redact("the sum of 12+12345678 is no phone")).toBe("the sum of 12+12345678 is no phone");
});

property.prop([dirtyJson], { numRuns: 200 })("valid JSON stays valid JSON", async (text) => {
  expect(() => JSON.parse(text) as unknown).not.toThrow();
  const redacted = await redact(text);
  expect(() => JSON.parse(redacted) as unknown).not.toThrow();
});

test.each(["[11.58693067541725]", "[-4111111111111111]", "[1e4111111111111]", "[1E-4111111111111111]"])(
  "a number's part is no card: %s",
  async (text) => {
    expect(await redact(text)).toBe(text);
  },
);

property.prop([fc.emailAddress({ size: "small" })])("no address survives beside punctuation", async (address) => {
  fc.pre(/^[\w.+%'-]+@[\w-]+(\.[\w-]+)*\.[a-z]{2,63}$/i.test(address));
  const text = await redact(`(${address}), "${address}"`);
  expect(text).toMatch(PSEUDONYM);
  expect(text).not.toContain(address);
});

test.each([
  ["at signs", "@".repeat(200_000)],
  ["local part", `${"a".repeat(200_000)}@`],
  ["labels", `a@${"b.".repeat(100_000)}`],
  ["digits", "4".repeat(200_000)],
  ["digit groups", "4111 ".repeat(40_000)],
  ["plus signs", "+1".repeat(100_000)],
  ["colons", "1:".repeat(100_000)],
  ["capitals", "DE89 AAAA ".repeat(20_000)],
  ["protocols", "http://a".repeat(25_000)],
])("hostile input does not run into the time limit, as a quadratic pattern would: %s", async (_name, text) => {
  await Promise.allSettled([redact(text)]);
});
