import { readFileSync } from "node:fs";
import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { decodeSpans } from "../../../src/trace/decode.ts";
import { messageSchema } from "../../../src/trace/message.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import type { Attributes, AttributeValue, Span } from "../../../src/trace/span.ts";
import { RECORDINGS } from "../../fixtures/otlp/recordings.ts";
import { fixtureFile } from "../../fixtures/otlp/rewrite.ts";

/** What a hostile or broken sender may put in the place of a value: its text cut anywhere, unsafe keys in its JSON, or something else entirely. */
const change: fc.Arbitrary<(value: AttributeValue) => AttributeValue> = fc.oneof(
  fc.nat(2_000).map((at) => (value: AttributeValue) => (typeof value === "string" ? value.slice(0, at) : value)),
  fc
    .constantFrom("__proto__", "constructor", "prototype")
    .map(
      (key) => (value: AttributeValue) =>
        typeof value === "string" ? value.replace(/\{/g, `{"${key}":{"polluted":1},`).replace(/,\}/g, "}") : { polluted: value },
    ),
  fc
    .constantFrom<AttributeValue>("", "null", "[", "{}", '"', "[[[]]]", '[{"role":7}]', '{"messages":{"role":"x"}}', '[null,1,"a",{}]')
    .map((it) => () => it),
  fc.jsonValue().map((json) => () => JSON.stringify(json)),
  fc.jsonValue().map((json) => () => json as AttributeValue),
  fc.constantFrom<AttributeValue>(Number.NaN, 2n ** 63n, new Uint8Array([255]), true).map((it) => () => it),
);
const changes = fc.array(fc.tuple(fc.nat(), change), { minLength: 1, maxLength: 6 });

/** Span attributes and the attributes of all events are one list of places. */
function mutated(span: Span, edits: readonly (readonly [number, (value: AttributeValue) => AttributeValue])[]): Span {
  const bags: Record<string, AttributeValue>[] = [{ ...span.attributes }, ...span.events.map(({ attributes }) => ({ ...attributes }))];
  const places = bags.flatMap((bag) => Object.keys(bag).map((key) => ({ bag, key })));
  for (const [index, edit] of edits) {
    const place = places[index % places.length];
    if (place !== undefined) place.bag[place.key] = edit(place.bag[place.key] as AttributeValue);
  }
  const [attributes, ...events] = bags as [Attributes, ...Attributes[]];
  return { ...span, attributes, events: span.events.map((event, index) => ({ ...event, attributes: events[index] ?? {} })) };
}

describe.each(Object.keys(RECORDINGS))("%s, changed by a hostile hand", (name) => {
  const spans = decodeSpans(readFileSync(fixtureFile(name, "traces.bin"))).map(({ value }) => value);

  test("a structured value with an unsafe key, in whichever place, leaves it behind", () => {
    const unsafe = { prototype: 1, deep: [{ prototype: { polluted: 1 } }], kept: "k" } as AttributeValue;
    for (const span of spans) {
      const places =
        Object.keys(span.attributes).length + span.events.reduce((sum, event) => sum + Object.keys(event.attributes).length, 0);
      for (let place = 0; place < places; place += 1) {
        const { startNs: _start, endNs: _end, ...stored } = normalise(mutated(span, [[place, () => unsafe]]), []);
        expect(JSON.stringify(stored), `place ${place} of ${span.name}`).not.toMatch(/"(?:__proto__|prototype)":/);
      }
    }
  });

  test.prop([fc.nat(), changes])(
    "is read without a throw, to canonical messages of plain JSON, and reaches no prototype",
    (which, edits) => {
      const call = normalise(mutated(spans[which % spans.length] as Span, edits), []);
      const said = call.kind === "inference" ? [...call.input, ...call.output] : [];
      for (const message of said) expect(messageSchema.safeParse(message).success).toBe(true);
      // It is stored and compared as JSON, which has no 64-bit integers.
      const { startNs: _start, endNs: _end, ...stored } = call;
      expect(JSON.stringify(stored)).not.toMatch(/"(?:__proto__|prototype)":/);
      expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    },
  );
});
