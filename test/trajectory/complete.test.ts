import { expect, test } from "vitest";
import type { Call } from "../../src/trace/call.ts";
import { completionOf, toolCallDangles } from "../../src/trajectory/complete.ts";
import { inference, SIMPLE, tool } from "./calls.ts";

const LIMITS = { graceMs: 15, idleMs: 300, maxAgeMs: 1_000 };
const ended = { firstReceivedMs: 0, lastReceivedMs: 100, rootEndedMs: 100, toolCallDangles: false };

test.each([
  ["root ended, grace not over", ended, 114, { state: "open", recheckAtMs: 115 }],
  ["root ended, grace over", ended, 115, { state: "complete", because: "root_ended" }],
  ["a span after the root starts the grace again", { ...ended, lastReceivedMs: 110 }, 120, { state: "open", recheckAtMs: 125 }],
  ["a dangling tool call waits for idleness", { ...ended, toolCallDangles: true }, 200, { state: "open", recheckAtMs: 400 }],
  ["idle with a dangling tool call", { ...ended, toolCallDangles: true }, 400, { state: "complete", because: "idle" }],
  ["no root: idle decides", { ...ended, rootEndedMs: null }, 399, { state: "open", recheckAtMs: 400 }],
  ["no root, idle", { ...ended, rootEndedMs: null }, 400, { state: "complete", because: "idle" }],
  ["never idle: the cap decides", { ...ended, rootEndedMs: null, lastReceivedMs: 999 }, 1_000, { state: "complete", because: "max_age" }],
  ["the cap is the next look", { ...ended, rootEndedMs: null, lastReceivedMs: 900 }, 901, { state: "open", recheckAtMs: 1_000 }],
  ["a watermark that stands still changes nothing", ended, 0, { state: "open", recheckAtMs: 115 }],
] as const)("%s", (_, input, nowMs, expected) => {
  expect(completionOf(input, LIMITS, nowMs)).toEqual(expected);
});

const { system, question, lookup, found } = SIMPLE;
const asked = inference("i1", [0, 1], [system, question], [lookup]);
test.each<[string, Call[], boolean]>([
  ["nothing was asked for", [inference("i", [0, 1], [question], [SIMPLE.done])], false],
  ["asked, nothing seen", [asked], true],
  ["the tool's span was seen", [asked, tool("x", [2, 3], "lookup", "c1")], false],
  ["the tool's span has no id", [asked, tool("x", [2, 3], "lookup", null)], false],
  ["another call's span was seen", [asked, tool("x", [2, 3], "refund", "c2")], true],
  ["a later request carries the result", [asked, inference("i2", [2, 3], [system, question, lookup, found], [SIMPLE.done])], false],
])("%s: dangles %s", (_, calls, dangles) => {
  expect(toolCallDangles(calls)).toBe(dangles);
});
