import { describe, expect, test } from "vitest";
import { decodeSpans } from "../../../src/trace/decode.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import { attributes, protobuf, spanJson, traceRequest } from "../../fixtures/otlp/build.ts";

const chunk = (delta: object, finish: string | null = null) => ({ choices: [{ index: 0, delta, finish_reason: finish }] });
const CALLS = [
  chunk({ tool_calls: [{ index: 0, id: "c1", function: { name: "lookup", arguments: '{"id":' } }] }),
  chunk({ tool_calls: [{ index: 1, id: "c2", function: { name: "refund", arguments: "{}" } }] }),
  chunk({ tool_calls: [{ index: 0, function: { arguments: '"A1"}' } }] }),
  chunk({}, "tool_calls"),
];
const TEXT = [chunk({ content: "Deli" }), chunk({ content: "vered." }), chunk({}, "stop")];

/** A streamed answer as MLflow tells it: the text on the span, the chunks as events, of which the SDK may have dropped some. */
function streamed(chunks: readonly object[], { told, dropped }: { told: string; dropped: number }) {
  const events = chunks.map((value, index) => ({
    name: `mlflow.chunk.item.${index + dropped}`,
    timeUnixNano: "1763725380000000001",
    attributes: attributes({ "mlflow.chunk.value": JSON.stringify(value) }),
  }));
  const message = { role: "assistant", content: told, tool_calls: null };
  const span = spanJson({
    attributes: {
      "mlflow.spanType": '"CHAT_MODEL"',
      "mlflow.spanInputs": JSON.stringify({ model: "tiny", messages: [{ role: "user", content: "Where?" }] }),
      "mlflow.spanOutputs": JSON.stringify({ id: "r1", choices: [{ finish_reason: "stop", message }] }),
    },
    events,
    droppedEventsCount: dropped,
  });
  return normalise(decodeSpans(protobuf(traceRequest([span])))[0]!.value, []);
}

describe("a streamed answer", () => {
  test("its tool calls come from its chunks, apart by their indices", () => {
    expect(streamed(CALLS, { told: "", dropped: 0 })).toMatchObject({
      dialect: "mlflow",
      damage: [],
      finishReasons: ["tool_calls"],
      output: [
        {
          role: "assistant",
          parts: [
            { type: "tool_call", id: "c1", name: "lookup", arguments: { id: "A1" } },
            { type: "tool_call", id: "c2", name: "refund", arguments: {} },
          ],
        },
      ],
    });
  });

  test("of a long text that lost its first chunks, the span tells all", () => {
    expect(streamed(TEXT.slice(1), { told: "Delivered.", dropped: 1 })).toMatchObject({
      damage: [],
      output: [{ role: "assistant", parts: [{ type: "text", content: "Delivered." }] }],
    });
  });

  test("calls that lost their first chunks are damage, and the text is not taken for the answer", () => {
    expect(streamed(CALLS.slice(1), { told: "One moment.", dropped: 1 })).toMatchObject({ damage: ["dropped_events"], output: [] });
  });
});

test("an address that the redactor saw in halves only does not come out whole", () => {
  const halves = [
    chunk({ tool_calls: [{ index: 0, id: "c1", function: { name: "write_to", arguments: '{"to": "ada@exa' } }] }),
    chunk({ tool_calls: [{ index: 0, function: { arguments: 'mple.com"}' } }] }),
    chunk({}, "tool_calls"),
  ];
  expect(streamed(halves, { told: "", dropped: 0 })).toMatchObject({ damage: ["pii_unredacted"], output: [] });
});

test("a text is taken from where the redactor saw it whole", () => {
  const halves = [chunk({ content: "Write to ada@exa" }), chunk({ content: "mple.com." }), chunk({}, "stop")];
  expect(streamed(halves, { told: "Write to <email_abcdefgh>.", dropped: 0 })).toMatchObject({
    damage: [],
    output: [{ role: "assistant", parts: [{ type: "text", content: "Write to <email_abcdefgh>." }] }],
  });
});

test("a tool's scalars are JSON too", () => {
  const span = spanJson({
    name: "days_left",
    attributes: { "mlflow.spanType": '"TOOL"', "mlflow.spanInputs": '{"id": "A1"}', "mlflow.spanOutputs": "30" },
  });
  expect(normalise(decodeSpans(protobuf(traceRequest([span])))[0]!.value, [])).toMatchObject({
    kind: "tool",
    toolName: "days_left",
    arguments: { id: "A1" },
    result: 30,
  });
});
