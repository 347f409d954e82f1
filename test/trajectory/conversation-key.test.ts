import { expect, test } from "vitest";
import { decodeSpans } from "../../src/trace/decode.ts";
import { normalise } from "../../src/trace/normalise.ts";
import { keyOf } from "../../src/trajectory/conversation-key.ts";
import { subjectsIn } from "../../src/trajectory/subject-key.ts";
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

test("Langfuse's own name of a session is one", () => {
  expect(keyIn({ "langfuse.session.id": "s-1" })).toEqual({ kind: "session", key: "s-1" });
});

test("what a conversation is filed under is what its calls say", () => {
  const [span] = decodeSpans(
    protobuf(traceRequest([spanJson({ attributes: { "session.id": "s-1", "thread.id": "t-1", "enduser.id": "u-1" } })])),
  );
  expect(keyOf(span!.value)?.key).toBe("t-1");
  expect(normalise(span!.value, [])).toMatchObject({ conversationKey: "t-1", subject: "u-1" });
  expect(subjectsIn(span!.value)).toEqual(["u-1"]);
});
