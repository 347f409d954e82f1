import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { goldenOf, type Golden } from "../fixtures/otlp/golden.ts";
import { fixtureFile, requestsOf } from "../fixtures/otlp/rewrite.ts";
import { recordSdk, SDKS } from "../fixtures/otlp/sdk/record.ts";
import { FINAL_ANSWER, QUESTION, SYSTEM, TOOL_ANSWERS } from "../fixtures/otlp/sdk/scenario.ts";

const text = (role: string, content: string) => ({ role, parts: [{ type: "text", content }] });
const asks = (...calls: [id: string, name: string, args: object][]) => ({
  role: "assistant",
  parts: calls.map(([id, name, args]) => ({ type: "tool_call", id, name, arguments: args })),
});
const answers = (id: string) => ({
  role: "tool",
  parts: [{ type: "tool_call_response", id, response: JSON.parse(TOOL_ANSWERS[id] ?? "null") as unknown }],
});

/** What really happened, call by call. */
const OPENING = [text("system", SYSTEM), text("user", QUESTION)];
const FIRST = asks(["call_a1", "lookup_order", { order_id: "A1234" }], ["call_b1", "return_policy", { region: "MOON" }]);
const SECOND = asks(["call_a2", "return_policy", { region: "EU" }], ["call_b2", "lookup_order", { order_id: "A1234" }]);
const TRUTH = [
  { input: OPENING, output: [FIRST] },
  { input: [...OPENING, FIRST, answers("call_a1"), answers("call_b1")], output: [SECOND] },
  {
    input: [...OPENING, FIRST, answers("call_a1"), answers("call_b1"), SECOND, answers("call_a2"), answers("call_b2")],
    output: [text("assistant", FINAL_ANSWER)],
  },
];

describe.each(SDKS)("%s", (sdk) => {
  const golden = JSON.parse(readFileSync(fixtureFile(sdk, "golden.json"), "utf8")) as Golden;

  test("the committed bytes give the golden calls", () => {
    const recorded = { traces: readFileSync(fixtureFile(sdk, "traces.bin")), logs: readFileSync(fixtureFile(sdk, "logs.bin")) };
    expect(goldenOf(recorded)).toEqual(golden);
  });

  test("the golden calls say what the model read and wrote, parallel calls apart", () => {
    const inference = golden.calls.filter((call) => (call as { kind: string }).kind === "inference");
    expect(inference).toMatchObject(TRUTH);
  });

  test("a recording made now gives the same", async () => {
    const recording = await recordSdk(sdk);
    expect(recording.modelRequests).toBe(4);
    expect(goldenOf(requestsOf(recording))).toEqual(golden);
  }, 60_000);
});
