import { isToolCall, isToolCallResponse, type Message, type Part } from "../trace/message.ts";
import type { CliContext } from "./context.ts";
import { oneLine, paint, plain } from "./print.ts";

const MAX_PART_CHARS = 2_000;

/** A transcript as a person reads it: a role in front of every message, tool calls and results on lines of their own. */
export function transcript(messages: readonly Message[], context: CliContext): string {
  return messages
    .flatMap((message) => message.parts.map((part) => `${paint("bold", role(message), context)}  ${partText(part)}`))
    .join("\n");
}

function role({ role: name }: Message): string {
  return oneLine(name, 9).padEnd(9);
}

function partText(part: Part): string {
  if (isToolCall(part)) return `→ ${oneLine(part.name, 80)} ${oneLine(asText(part.arguments), 400)}`;
  if (isToolCallResponse(part)) return `← ${oneLine(asText(part.response), 400)}`;
  const content = (part as { content?: unknown }).content;
  const text = plain(typeof content === "string" ? content : asText(part)).trim();
  return (text.length > MAX_PART_CHARS ? `${text.slice(0, MAX_PART_CHARS)}…` : text).replaceAll("\n", `\n${" ".repeat(11)}`);
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
