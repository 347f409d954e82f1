import { nightshiftError } from "../../src/errors.ts";
import { parseResult } from "../../src/trajectory/record-tape.ts";
import type { LlmClient, LlmQuestion } from "../../src/serving/llm.ts";

const ASKS = 3;

/** What a scripted model does with one asking: a text, or what its server does instead. */
export type Reply = string | { status: "retryable" | "rejected" };

export type Asked = Pick<LlmQuestion<unknown>, "system" | "user" | "schema" | "sources" | "runId" | "maxOutputTokens">;

/** A model that replies by script, asked at most three times as the real client asks, and told each time what was wrong. Replies take a while that differs. */
export function createScriptedLlm(
  script: (question: Asked, asked: number, problem: string) => Reply,
): LlmClient & { questions: Asked[]; problems: string[] } {
  const questions: Asked[] = [];
  const problems: string[] = [];
  return {
    questions,
    problems,
    async ask(question) {
      questions.push(question);
      for (let turn = questions.length % 4; turn >= 0; turn -= 1) await new Promise((resolve) => setImmediate(resolve));
      let problem = "";
      for (let asked = 0; asked < ASKS; asked += 1) {
        const reply = script(question, asked, problem);
        if (typeof reply !== "string") return failure(reply.status);
        const parsed = question.parse(reply);
        if (parsed.ok) return { status: "answered", value: parsed.value, inputTokens: 1, outputTokens: 1, cached: false };
        ({ problem } = parsed);
        problems.push(problem);
      }
      return failure("rejected");
    },
  };
}

function failure(status: "retryable" | "rejected") {
  const error = nightshiftError("judge_unavailable", { model: "scripted", problem: "as the script says" });
  return status === "retryable" ? ({ status, retryAfterMs: 0, error } as const) : ({ status, error } as const);
}

/** The pieces of a fenced prompt, as its reader is told to read it: by the marker that the instructions name. */
export function piecesOf({ system, user }: Pick<Asked, "system" | "user">): readonly { head: string; body: string }[] {
  const marker = /begin with (~[0-9a-f]+) are from us/.exec(system)?.[1] ?? "no marker";
  const pieces: { head: string; body: string }[] = [];
  for (const line of user.split("\n")) {
    if (line.startsWith(marker)) pieces.push({ head: line.slice(marker.length + 1), body: "" });
    else if (pieces.length > 0)
      (pieces.at(-1) as { body: string }).body += `${(pieces.at(-1) as { body: string }).body === "" ? "" : "\n"}${line}`;
  }
  return pieces;
}

/**
 * A renderer that words an answer from the prompt alone: the nearest recorded answer with the call's arguments, what is known and the new ids in it. Sees no
 * world and no tape.
 */
export function render(question: Asked): string {
  const pieces = piecesOf(question);
  const body = (start: string): string => pieces.findLast(({ head }) => head.startsWith(start))?.body ?? "";
  const nearest = pieces.findLast(({ head }) => /^recorded call \d+ .*its answer$/.test(head))?.body ?? "";
  const example = parseResult(nearest);
  if (example === null || typeof example !== "object") return JSON.stringify({ result: example });
  const args = objectOf(body("the call to answer"));
  // What a write changes it says itself; what holds for a read is told.
  const known = Object.assign(
    {},
    ...body("known now")
      .split("\n")
      .map((line) => objectOf(line.slice(line.indexOf("{")))),
  ) as object;
  const ids = Object.fromEntries(
    body("new ids")
      .split("\n")
      .map((line): [string, unknown] => [line.split(" ")[0] ?? "", parseResult(line.slice(line.indexOf(" ") + 1))]),
  );
  const values: Record<string, unknown> = { ...known, ...args, ...ids };
  const result = Object.fromEntries(
    Object.entries(example).map(([name, value]) => [name, isPlain(value) && Object.hasOwn(values, name) ? values[name] : value]),
  );
  return JSON.stringify({ result });
}

function isPlain(value: unknown): boolean {
  return value === null || typeof value !== "object";
}

function objectOf(text: string): object {
  const value = parseResult(text);
  return value !== null && typeof value === "object" ? value : {};
}
