import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { decodeLogs, decodeSpans } from "../../src/trace/decode.ts";
import { normalise } from "../../src/trace/normalise.ts";
import { assemble, type Draft } from "../../src/trajectory/assemble.ts";
import { verdictOf } from "../../src/trajectory/verdict.ts";
import { fixtureFile } from "../fixtures/otlp/rewrite.ts";
import { SDKS } from "../fixtures/otlp/sdk/record.ts";
import { FINAL_ANSWER } from "../fixtures/otlp/sdk/scenario.ts";

const { agents } = parseConfig({ agents: { any: { model: "m", baseModel: "b" } } });

/** One scenario with two rounds of parallel tool calls, a tool error, a stream and a retry, recorded with real SDKs. */
function assembled(sdk: (typeof SDKS)[number]): Draft[] {
  const spans = decodeSpans(readFileSync(fixtureFile(sdk, "traces.bin"))).map(({ value }) => value);
  const logs = decodeLogs(readFileSync(fixtureFile(sdk, "logs.bin"))).map(({ value }) => value);
  const calls = spans.map((span) => normalise(span, logs));
  return assemble({ id: "c", key: "k", tenant: "default", agent: "any" }, calls, agents);
}

describe.each(SDKS)("recorded with %s", (sdk) => {
  test("three model calls become one transcript that ends with the final answer", () => {
    const drafts = assembled(sdk);
    expect(drafts).toHaveLength(1);
    expect(drafts[0]?.trajectory.usage.calls).toBe(3);
    expect(drafts[0]?.trajectory.messages.map(({ role }) => role)).toEqual([
      "system",
      "user",
      "assistant",
      "tool",
      "tool",
      "assistant",
      "tool",
      "tool",
      "assistant",
    ]);
    expect(drafts[0]?.trajectory.messages.at(-1)?.parts).toEqual([{ type: "text", content: FINAL_ANSWER }]);
  });
});

test("all SDKs tell the same story", () => {
  const [first, ...others] = SDKS.map((sdk) => assembled(sdk)[0]?.trajectory.messages);
  for (const messages of others) expect(messages).toEqual(first);
});

test.each([
  ["openinference-openai", []],
  // It never records tool definitions, whatever its settings.
  ["opentelemetry-openai", ["tool_definitions_missing"]],
] as const)("%s: what its telemetry lacks is named", (sdk, reasons) => {
  expect(verdictOf(assembled(sdk)[0] as Draft, { trainingConsent: "allow" }).reasons).toEqual(reasons);
});
