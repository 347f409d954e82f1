import { expect, test } from "vitest";
import { decodeSpans } from "../../src/trace/decode.ts";
import { keyOf } from "../../src/trajectory/conversation-key.ts";
import { protobuf, spanJson, traceRequest, type Value } from "../fixtures/otlp/build.ts";

const keyIn = (attributes: Readonly<Record<string, Value>>) =>
  keyOf(decodeSpans(protobuf(traceRequest([spanJson({ attributes })])))[0]!.value);

test("LangSmith's session is a project: it is in every run of an app, and joins none of them", () => {
  const project = { "langsmith.trace.session_id": "p-1", "langsmith.trace.session_name": "shop" };
  expect(keyIn(project)).toBeNull();
  expect(keyIn({ ...project, "langsmith.metadata.session_id": "s-1" })).toEqual({ kind: "session", key: "s-1" });
  expect(keyIn({ ...project, "langsmith.metadata.session_id": "s-1", "langsmith.metadata.thread_id": "t-1" })).toEqual({
    kind: "conversation",
    key: "t-1",
  });
});
