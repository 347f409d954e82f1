import { readFileSync } from "node:fs";
import { fc, test } from "@fast-check/vitest";
import { expect } from "vitest";
import { z } from "zod";
import { decodeLogs, decodeSpans } from "../../../src/trace/decode.ts";
import { messageSchema } from "../../../src/trace/message.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import type { AttributeValue, LogEvent, Span } from "../../../src/trace/span.ts";
import { RECORDINGS } from "../../fixtures/otlp/recordings.ts";
import { fixtureFile } from "../../fixtures/otlp/rewrite.ts";

/** Every recorded dialect, with one thing of a real span written by somebody who means harm. */
const RECORDED = Object.keys(RECORDINGS).map((name) => ({
  spans: decodeSpans(readFileSync(fixtureFile(name, "traces.bin"))).map(({ value }) => value),
  logs: decodeLogs(readFileSync(fixtureFile(name, "logs.bin"))).map(({ value }) => value),
}));

const hostileValue: fc.Arbitrary<AttributeValue> = fc.oneof(
  fc.constantFrom<AttributeValue>(
    '{"__proto__":{"polluted":1}}',
    '[{"role":"user","__proto__":{"polluted":1},"parts":[{"type":"text","content":"x","constructor":{"prototype":{"polluted":1}}}]}]',
    '[[[[[["deep"]]]]]]',
    "[null,1,true,{}]",
    "{}",
    "null",
    '{"choices":[{"message":{"tool_calls":[{"function":null}]}}],"output":[{"type":"message","content":[null]}]}',
    '{"contents":[{"parts":[{"function_call":7},{}]}],"config":{"tools":[{"function_declarations":[3,{"name":"n","parameters":[]}]}]}}',
    null,
    7,
    2n ** 62n,
    true,
  ),
  fc.string(),
  fc.json(),
  fc.array(fc.oneof(fc.string(), fc.integer())),
  fc.dictionary(fc.string(), fc.string()),
);

/** Which value is replaced, and by what: cut at a share of its length, or another one altogether. */
const harm = fc.record({ at: fc.nat(), cut: fc.double({ min: 0, max: 1, noNaN: true }), value: fc.option(hostileValue) });
type Harm = { at: number; cut: number; value: AttributeValue };

function harmed<T extends Readonly<Record<string, AttributeValue>>>(attributes: T, { at, cut, value }: Harm): T {
  const keys = Object.keys(attributes);
  const key = keys[at % Math.max(keys.length, 1)];
  if (key === undefined) return attributes;
  const old = attributes[key];
  return { ...attributes, [key]: value === null && typeof old === "string" ? old.slice(0, Math.floor(cut * old.length)) : value };
}

function harmedSpan(span: Span, harms: readonly Harm[]): Span {
  const attributes = harms.reduce((kept, each) => harmed(kept, each), span.attributes);
  const events = span.events.map((event, index) => ({
    ...event,
    attributes: harmed(event.attributes, harms[index % harms.length] as Harm),
  }));
  return { ...span, attributes, events };
}

function harmedLog(log: LogEvent, each: Harm): LogEvent {
  return { ...log, attributes: harmed(log.attributes, each), body: each.at % 2 === 0 ? each.value : log.body };
}

test.prop([fc.nat(), fc.nat(), fc.array(harm, { minLength: 1, maxLength: 4 })], { numRuns: 400 })(
  "a recorded span with hostile or cut values is read without a throw, into messages that hold to the schema",
  (recording, index, harms) => {
    const { spans, logs } = RECORDED[recording % RECORDED.length] as (typeof RECORDED)[number];
    const span = harmedSpan(spans[index % spans.length]!, harms);
    const call = normalise(
      span,
      logs.map((log, at) => harmedLog(log, harms[at % harms.length] as Harm)),
    );
    if (call.kind === "inference") z.array(messageSchema).parse([...call.input, ...call.output]);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    expect(JSON.stringify(call, (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value))).not.toContain('"polluted"');
  },
);
