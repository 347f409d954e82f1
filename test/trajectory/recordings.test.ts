import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import type { Call } from "../../src/trace/call.ts";
import type { Message, Part } from "../../src/trace/message.ts";
import { assemble, type Draft } from "../../src/trajectory/assemble.ts";
import { verdictOf } from "../../src/trajectory/verdict.ts";
import { callsOf, type Golden } from "../fixtures/otlp/golden.ts";
import { RECORDINGS } from "../fixtures/otlp/recordings.ts";
import { fixtureFile } from "../fixtures/otlp/rewrite.ts";

const { agents } = parseConfig({ agents: { any: { model: "m", baseModel: "b" } } });

/** One scenario with two rounds of parallel tool calls, a tool error, a stream and a retry, recorded with real SDKs. */
function assembled(name: string): Draft[] {
  const calls = callsOf({ traces: readFileSync(fixtureFile(name, "traces.bin")), logs: readFileSync(fixtureFile(name, "logs.bin")) });
  return assemble({ id: "c", key: "k", tenant: "default", agent: "any" }, calls, agents);
}

function withoutIds(messages: readonly Message[]): Message[] {
  return messages.map((message) => ({ ...message, parts: message.parts.map(({ id: _id, ...part }) => part as Part) }));
}

describe.each(Object.entries(RECORDINGS))("recorded with %s", (name, { lacksCallIds, unfaithfulTranscript, reasons }) => {
  const golden = JSON.parse(readFileSync(fixtureFile(name, "golden.json"), "utf8")) as Golden;
  const { played, lacks } = golden;

  test("all model calls become one transcript", () => {
    const drafts = assembled(name);
    expect(drafts).toHaveLength(1);
    // Three, and the attempt that failed where the SDK tells of it.
    const failed = golden.calls.filter((call) => (call as Call).kind === "inference" && (call as Call).errorType !== null);
    expect(drafts[0]?.trajectory.usage.calls).toBe(played.length + failed.length);
  });

  test("no token is counted twice", () => {
    const { inputTokens, outputTokens } = assembled(name)[0]!.trajectory.usage;
    if (lacks.some((lack) => lack.startsWith("token counts"))) expect([inputTokens < 60, outputTokens < 15]).toEqual([true, true]);
    else expect({ inputTokens, outputTokens }).toEqual({ inputTokens: 60, outputTokens: 15 });
  });

  test(unfaithfulTranscript ?? "the transcript is what the model read and wrote", () => {
    const last = played.at(-1);
    const truth = [...(last?.input ?? []), ...(last?.output ?? [])];
    const messages = assembled(name)[0]?.trajectory.messages;
    if (unfaithfulTranscript === undefined) expect(messages).toEqual(lacksCallIds ? withoutIds(truth) : truth);
    // It would teach what never happened.
    else expect(reasons).not.toEqual([]);
  });

  test("what its telemetry lacks is named", () => {
    expect(verdictOf(assembled(name)[0] as Draft, { trainingConsent: "allow" }).reasons).toEqual(reasons);
  });
});
