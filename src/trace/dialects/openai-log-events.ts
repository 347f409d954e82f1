import { canonicalMessage } from "../canonical.ts";
import { isRecord, jsonOf } from "../json.ts";
import type { Message } from "../message.ts";
import type { LogEvent, Span } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";

const ROLE: Readonly<Record<string, string>> = {
  "gen_ai.system.message": "system",
  "gen_ai.user.message": "user",
  "gen_ai.assistant.message": "assistant",
  "gen_ai.tool.message": "tool",
};
const CHOICE = "gen_ai.choice";
/** What Google ADK writes in the place of content that is not to be captured. */
const ELIDED = "<elided>";

/**
 * The GenAI conventions up to 1.36, as the official OpenAI instrumentation for JavaScript sends them: one log event per message of the history and one per
 * choice, nothing on the span. No tool definitions; the content is absent unless the SDK's capture switch is on.
 */
export const openaiLogEvents: Dialect = {
  name: "openai-log-events",
  read(span: Span, logs) {
    const ours = logs.filter((log) => log.eventName === CHOICE || Object.hasOwn(ROLE, log.eventName)).sort(byTime);
    if (ours.length === 0) return null;
    const input = ours.flatMap((log) => inputMessage(log));
    const choices = ours.filter((log) => log.eventName === CHOICE).map((log) => choiceOf(log));
    const reading: Reading = { kind: "inference", input };
    const output = choices.flatMap((choice) => (choice.message === null ? [] : [choice.message]));
    const reasons = choices.flatMap((choice) => (choice.finishReason === null ? [] : [choice.finishReason]));
    if (output.length > 0) reading.output = output;
    if (reasons.length > 0) reading.finishReasons = reasons;
    return reading;
  },
};

/** All events of one call may carry the same millisecond: then the order of arrival decides. */
function byTime(a: LogEvent, b: LogEvent): number {
  return compare(a.timeNs, b.timeNs) || compare(a.sequence ?? 0n, b.sequence ?? 0n);
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A body without content is a history message whose content was not captured, or an assistant's turn that is only tool calls. */
function inputMessage(log: LogEvent): Message[] {
  const role = ROLE[log.eventName];
  const body = jsonOf(log.body).value;
  if (role === undefined || !isRecord(body) || body["content"] === ELIDED) return [];
  return [canonicalMessage({ ...body, role })];
}

function choiceOf(log: LogEvent): { message: Message | null; finishReason: string | null } {
  const body = jsonOf(log.body).value;
  if (!isRecord(body)) return { message: null, finishReason: null };
  const finishReason = typeof body["finish_reason"] === "string" ? body["finish_reason"] : null;
  const message = isRecord(body["message"]) ? canonicalMessage({ ...body["message"], role: "assistant" }) : null;
  return { message: message !== null && message.parts.length > 0 ? message : null, finishReason };
}
