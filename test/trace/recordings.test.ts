import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Call } from "../../src/trace/call.ts";
import { goldenOf, type Golden } from "../fixtures/otlp/golden.ts";
import { RECORDINGS, type RecordedSdk } from "../fixtures/otlp/recordings.ts";
import { fixtureFile, recordedOf } from "../fixtures/otlp/rewrite.ts";
import { agentOf, recordAgent, SDKS } from "../fixtures/otlp/sdk/record.ts";
import { FINAL_ANSWER, QUESTION, SYSTEM, TOOL_ANSWERS } from "../fixtures/otlp/sdk/scenario.ts";

const text = (role: string, content: string) => ({ role, parts: [{ type: "text", content }] });
const asked = (id: string, name: string, args: object) => ({ type: "tool_call", id, name, arguments: args });
type Asked = ReturnType<typeof asked>;
const asks = (calls: readonly Asked[]) => ({ role: "assistant", parts: calls });
const answers = (id: string, response: unknown = JSON.parse(TOOL_ANSWERS[id] ?? "null")) => ({
  role: "tool",
  parts: [{ type: "tool_call_response", id, response }],
});

type Framework = Pick<RecordedSdk, "toolError" | "lastCallOnly" | "system">;

const FIRST = [asked("call_a1", "lookup_order", { order_id: "A1234" }), asked("call_b1", "return_policy", { region: "MOON" })];
const SECOND = [asked("call_a2", "return_policy", { region: "EU" }), asked("call_b2", "lookup_order", { order_id: "A1234" })];

/** What really happens in the scenario, call by call. */
function truth({ toolError, lastCallOnly, system = SYSTEM }: Framework) {
  const round = (calls: readonly Asked[]) => {
    const made = lastCallOnly === true ? calls.slice(-1) : calls;
    return [asks(made), ...made.map(({ id }) => answers(id, id === "call_b1" ? toolError : undefined))];
  };
  const opening = [text("system", system), text("user", QUESTION)];
  const first = [...opening, ...round(FIRST)];
  return [
    { input: opening, output: [asks(FIRST)] },
    { input: first, output: [asks(SECOND)] },
    { input: [...first, ...round(SECOND)], output: [text("assistant", FINAL_ANSWER)] },
  ];
}

test("every SDK is told of, and every recording is there", () => {
  expect(Object.keys(RECORDINGS)).toEqual(expect.arrayContaining([...SDKS]));
});

test("an SDK's own gRPC exporter sends what it sends over HTTP", { timeout: 60_000 }, async () => {
  const golden: unknown = JSON.parse(readFileSync(fixtureFile("openinference-openai", "golden.json"), "utf8"));
  const { records, played } = await recordAgent(agentOf("openinference-openai"), "grpc");
  expect(records.map(({ signal }) => signal)).toContain("traces");
  expect(goldenOf(recordedOf({ records, played }))).toEqual(golden);
});

describe.each(Object.entries(RECORDINGS))("%s", (name, about) => {
  const golden = JSON.parse(readFileSync(fixtureFile(name, "golden.json"), "utf8")) as Golden;

  test("the scenario was played", () => {
    expect(golden.played).toMatchObject(truth(about));
  });

  test("the committed bytes give the golden calls", () => {
    const recorded = { traces: readFileSync(fixtureFile(name, "traces.bin")), logs: readFileSync(fixtureFile(name, "logs.bin")) };
    expect(goldenOf({ ...recorded, played: golden.played })).toEqual(golden);
  });

  // Where single spans are not faithful, the transcript is held against the truth (test/trajectory/recordings.test.ts).
  if (about.unfaithfulSpans === undefined) {
    test("the golden calls say what the model read and wrote, parallel calls apart", () => {
      const inference = golden.calls.filter((call) => (call as Call).kind === "inference" && (call as Call).errorType === null);
      expect(inference).toMatchObject(truth(about));
    });
  }

  if (SDKS.includes(name)) {
    test("a recording made now gives the same", async () => {
      const recording = await recordAgent(agentOf(name));
      expect(recording.played.modelRequests).toBe(4);
      expect(goldenOf(recordedOf(recording))).toEqual(golden);
    }, 60_000);
  }
});
