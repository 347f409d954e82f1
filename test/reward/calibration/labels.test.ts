import { describe, expect, test } from "vitest";
import { MAX_LABELS, parseLabels } from "../../../src/reward/calibration/labels.ts";

const pair = { kind: "pair", a: { from: "trajectory", id: "t1" }, b: { from: "rollout", group: "g", member: 2 }, preferred: "a" };
const chat = { from: "messages", messages: [{ role: "user", content: "hi" }] };
const scores = {
  kind: "scores",
  attempts: [
    { transcript: chat, score: 4 },
    { transcript: pair.a, score: 1 },
  ],
};
const read = (...lines: unknown[]) =>
  parseLabels("l.jsonl", lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n"));

test("both kinds, with empty lines between them, keep their line numbers", () => {
  expect(read(pair, "", scores).map(({ line, label }) => [line, label.kind])).toEqual([
    [1, "pair"],
    [3, "scores"],
  ]);
});

describe("a bad line is named with its field, what stood there and the fix", () => {
  test.each([
    ["no JSON", '{"kind":', 2, "(line)", '{"kind":'],
    ["unknown kind", { ...pair, kind: "pairs" }, 2, "kind", '"pairs"'],
    ["unknown field", { ...pair, note: "x" }, 2, "(line)", '"note"'],
    ["no such preference", { ...pair, preferred: "c" }, 2, "preferred", '"c"'],
    ["no member", { ...pair, b: { from: "rollout", group: "g" } }, 2, "b.member", "nothing"],
    ["one attempt only", { ...scores, attempts: scores.attempts.slice(1) }, 2, "attempts", '"t1"'],
    [
      "a score in words",
      { ...scores, attempts: [{ transcript: chat, score: "good" }, scores.attempts[1]] },
      2,
      "attempts.0.score",
      '"good"',
    ],
    [
      "an unknown role",
      { ...pair, a: { from: "messages", messages: [{ role: "human", content: "" }] } },
      2,
      "a.messages.0.role",
      '"human"',
    ],
  ])("%s", (_, line, at, field, received) => {
    const refused = () => read(pair, line);
    expect(refused).toThrow(new RegExp(`^l\\.jsonl:${at}: ${field.replaceAll(/[().]/g, String.raw`\$&`)}: `));
    expect(refused).toThrow(received);
    expect(refused).toThrow(expect.objectContaining({ code: "labels_invalid" }));
  });

  test("an empty file, and one with too many labels", () => {
    expect(() => read("", "")).toThrow("the file holds no label");
    expect(() => read(...Array.from({ length: MAX_LABELS + 1 }, () => pair))).toThrow(
      `l.jsonl:${MAX_LABELS + 1}: (line): more than ${MAX_LABELS} labels`,
    );
  });
});
