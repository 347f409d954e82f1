import { readFileSync } from "node:fs";
import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { Call } from "../../../src/trace/call.ts";
import { decodeLogs, decodeSpans } from "../../../src/trace/decode.ts";
import { messageSchema } from "../../../src/trace/message.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import type { Attributes, AttributeValue, LogEvent, Span } from "../../../src/trace/span.ts";
import { RECORDINGS } from "../../fixtures/otlp/recordings.ts";
import { fixtureFile } from "../../fixtures/otlp/rewrite.ts";

/** What a hostile or broken sender may put where the dialect expects text. */
const HOSTILE: readonly AttributeValue[] = [
  null,
  true,
  Number.NaN,
  -1,
  2n ** 63n - 1n,
  "",
  "null",
  "[",
  '{"a":',
  '"',
  "[[[[",
  "[null]",
  [null, [null]],
  '[{"parts":[null,[]]}]',
  '{"__proto__":{"polluted":1}}',
  '[{"role":{},"content":[{"type":[]}],"tool_calls":[null,{}]}]',
  '[{"role":"tool","content":[{"type":"tool-result"}]}]',
];

const value: fc.Arbitrary<AttributeValue> = fc.oneof(
  fc.constantFrom(...HOSTILE),
  fc.json(),
  fc.string(),
  fc.uint8Array({ maxLength: 4 }),
  fc.array(fc.json(), { maxLength: 3 }),
  fc.dictionary(fc.constantFrom("role", "parts", "content", "type", "name", "function", "id"), fc.json(), { maxKeys: 4 }),
);

/** Paths behind a key of the dialect: they make a list of a scalar, a message of an index, an object of a list. */
const suffix = fc.constantFrom(
  "",
  ".0",
  ".0.role",
  ".999999999",
  ".999999999.content",
  ".__proto__.polluted",
  ".0.constructor.prototype.polluted",
  ".1.tool_calls.x.id",
  ".0.message",
  ".0.message.contents",
  ".-1.role",
  "..",
);

interface Mutation {
  at: number;
  how: "replace" | "cut" | "remove" | "add";
  value: AttributeValue;
  suffix: string;
  share: number;
}
const mutation: fc.Arbitrary<Mutation> = fc.record({
  at: fc.nat(),
  how: fc.constantFrom("replace", "cut", "remove", "add"),
  value,
  suffix,
  share: fc.double({ min: 0, max: 1, noNaN: true }),
});

function mutated(attributes: Attributes, mutations: readonly Mutation[]): Attributes {
  const entries = new Map(Object.entries(attributes));
  for (const { at, how, value, suffix, share } of mutations) {
    const keys = [...entries.keys()];
    const key = keys[at % Math.max(1, keys.length)] ?? "gen_ai.operation.name";
    const before = entries.get(key);
    if (how === "remove") entries.delete(key);
    else if (how === "replace") entries.set(key, value);
    else if (how === "add") entries.set(`${key.replace(/\.\d+\..*/, "")}${suffix}`, value);
    else if (typeof before === "string") entries.set(key, before.slice(0, Math.floor(before.length * share)));
  }
  return Object.fromEntries(entries);
}

function recorded(name: string): { spans: Span[]; logs: LogEvent[] } {
  return {
    spans: decodeSpans(readFileSync(fixtureFile(name, "traces.bin"))).map(({ value }) => value),
    logs: decodeLogs(readFileSync(fixtureFile(name, "logs.bin"))).map(({ value }) => value),
  };
}

const messages = z.array(messageSchema);

function readable(call: Call): void {
  // It is stored and compared as JSON, which has no 64-bit integers.
  const { startNs: _start, endNs: _end, ...stored } = call;
  expect(JSON.stringify(stored)).not.toMatch(/"(?:__proto__|prototype)":/);
  if (call.kind !== "inference") return;
  messages.parse(call.input);
  messages.parse(call.output);
}

describe.each(Object.keys(RECORDINGS))("%s, mutated", (name) => {
  const { spans, logs } = recorded(name);

  property.prop([fc.nat(), fc.array(mutation, { minLength: 1, maxLength: 6 })], { numRuns: 300 })(
    "is read without a throw, into messages, and pollutes nothing",
    (which, mutations) => {
      const span = spans[which % spans.length]!;
      const own = logs.filter((log) => log.spanId === span.spanId);
      const call = normalise(
        {
          ...span,
          attributes: mutated(span.attributes, mutations),
          events: span.events.map((event) => ({ ...event, attributes: mutated(event.attributes, mutations) })),
        },
        own.map((log, index) => ({
          ...log,
          body: index % 2 === 0 ? mutations[0]!.value : log.body,
          attributes: mutated(log.attributes, mutations),
        })),
      );
      readable(call);
      expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    },
  );

  test("every attribute replaced by each hostile value, or cut in half, is no throw", () => {
    for (const span of spans) {
      for (const [key, text] of Object.entries(span.attributes)) {
        const values = typeof text === "string" ? [...HOSTILE, text.slice(0, text.length / 2)] : HOSTILE;
        for (const value of values) readable(normalise({ ...span, attributes: { ...span.attributes, [key]: value } }, logs));
      }
    }
  });
});

test.each([
  ["ai-sdk-6", "ai.prompt.messages"],
  ["ai-sdk-6", "ai.response.toolCalls"],
  ["ai-sdk-7", "gen_ai.input.messages"],
  ["traceloop-openai", "gen_ai.input.messages"],
  ["langsmith-openai", "gen_ai.completion"],
  ["langfuse-openai", "langfuse.observation.input"],
])("%s: a cut %s is named", (name, key) => {
  const span = recorded(name).spans.find(
    ({ attributes }) => typeof attributes[key] === "string" && (attributes["gen_ai.operation.name"] ?? "chat") === "chat",
  )!;
  const text = span.attributes[key] as string;
  const call = normalise({ ...span, attributes: { ...span.attributes, [key]: text.slice(0, text.length / 2) } }, []);
  expect(call.damage).toEqual(["truncated_json"]);
});
