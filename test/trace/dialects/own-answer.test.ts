import { expect, test } from "vitest";
import { beforeOwnAnswer } from "../../../src/trace/dialects/own-answer.ts";
import type { Message } from "../../../src/trace/message.ts";

const text = (role: string, content: string): Message => ({ role, parts: [{ type: "text", content }] });
const calls = (...ids: (string | undefined)[]): Message => ({
  role: "assistant",
  parts: ids.map((id) => ({ type: "tool_call", ...(id === undefined ? {} : { id }), name: "lookup", arguments: { id: "A1" } })),
});
const answered = (id: string): Message => ({ role: "tool", parts: [{ type: "tool_call_response", id, response: "sent" }] });

const ASKED = [text("user", "Where is A1?")];
const WHOLE = [...ASKED, calls("c1"), answered("c1"), calls("c2"), answered("c2"), text("assistant", "It was sent.")];

test.each<[string, Message[], Message, number]>([
  ["its own calls, and all that came later", WHOLE, calls("c1"), 1],
  ["the same calls made again have other ids", WHOLE, calls("c2"), 3],
  ["its text at the end", WHOLE, text("assistant", "It was sent."), 5],
  ["the list as it stood while tools ran", WHOLE.slice(0, 3), calls("c1"), 1],
  ["nothing, where the list was not touched", ASKED, calls("c1"), 1],
  ["nothing, where the same was asked before", WHOLE.slice(0, 3), calls("c9"), 3],
  ["nothing, where ids are missing and the list may be whole", [...ASKED, calls(undefined), answered("")], calls(undefined), 3],
  [
    "the last call without ids, where the list ends with an answer",
    [...ASKED, calls(undefined), answered(""), text("assistant", "x")],
    calls(undefined),
    1,
  ],
  ["an answer with one id of two", [...ASKED, calls("c1", "c2"), answered("c1"), answered("c2")], calls("c1", undefined), 1],
  [
    "nothing of a chat that says the same again",
    [...ASKED, text("assistant", "Sure."), text("user", "And B2?")],
    text("assistant", "Sure."),
    3,
  ],
  ["everything, where the list ends with another call's answer", WHOLE, text("assistant", "Never said."), 0],
])("cuts off %s", (_what, messages, answer, kept) => {
  expect(beforeOwnAnswer(messages, [answer])).toEqual(messages.slice(0, kept));
});

test("a call without an answer keeps its messages", () => {
  expect(beforeOwnAnswer(WHOLE, [])).toEqual(WHOLE);
});
