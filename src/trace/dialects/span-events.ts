import type { Call, Damage } from "../call.ts";
import { canonicalMessages } from "../canonical.ts";
import { answerOf } from "../content-blocks.ts";
import { isRecord, jsonOf, payloadOf } from "../json.ts";
import type { Message } from "../message.ts";
import type { AttributeValue, Span, SpanEvent } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";

const ROLE: Readonly<Record<string, string>> = {
  "gen_ai.system.message": "system",
  "gen_ai.user.message": "user",
  "gen_ai.assistant.message": "assistant",
  "gen_ai.tool.message": "tool",
};
const CHOICE = "gen_ai.choice";

/** Semantic Kernel keeps all messages of one side in one event. */
const PROMPT = { event: "gen_ai.content.prompt", attribute: "gen_ai.prompt" };
const COMPLETION = { event: "gen_ai.content.completion", attribute: "gen_ai.completion" };

const KIND: Readonly<Record<string, Call["kind"]>> = {
  chat: "inference",
  generate_content: "inference",
  text_completion: "inference",
  execute_tool: "tool",
};

/**
 * The GenAI conventions up to 1.36 as span events, one per message and one per choice. The fields of a message are the event's attributes, JSON in strings (Strands), or
 * one attribute `gen_ai.event.content` (Azure AI). Agents and loop cycles repeat the events: there they are only structure.
 */
export const spanEvents: Dialect = {
  name: "span-events",
  read(span) {
    const operation = span.attributes["gen_ai.operation.name"];
    const kind = typeof operation === "string" && Object.hasOwn(KIND, operation) ? KIND[operation] : undefined;
    if (kind === undefined || !span.events.some(isOurs)) return null;
    const damage = new Set<Damage>();
    const reading = kind === "tool" ? readTool(span) : readInference(span, damage);
    return { kind, ...reading, damage: [...damage] };
  },
};

function isOurs({ name }: SpanEvent): boolean {
  return name === CHOICE || Object.hasOwn(ROLE, name) || name === PROMPT.event || name === COMPLETION.event;
}

function readInference(span: Span, damage: Set<Damage>): Reading {
  const read = (value: AttributeValue | undefined): unknown => {
    const { value: plain, broken } = jsonOf(value);
    if (broken) damage.add("truncated_json");
    return broken ? undefined : plain;
  };
  const input: Message[] = [];
  const output: Message[] = [];
  const reasons: string[] = [];
  for (const event of span.events.filter(isOurs)) {
    const fields = fieldsOf(event, read);
    const role = ROLE[event.name];
    if (role !== undefined) input.push(...messagesOf(role, fields));
    else if (event.name === PROMPT.event) input.push(...canonicalMessages(fields[PROMPT.attribute]));
    else if (event.name === COMPLETION.event) output.push(...canonicalMessages(fields[COMPLETION.attribute]));
    else {
      const said = fields["message"];
      output.push(...messagesOf("assistant", isRecord(said) ? said : { content: said }));
      if (typeof fields["finish_reason"] === "string") reasons.push(fields["finish_reason"]);
    }
  }
  return {
    ...(input.length > 0 ? { input } : {}),
    ...(output.length > 0 ? { output } : {}),
    ...(reasons.length > 0 ? { finishReasons: reasons } : {}),
  };
}

/** A message's fields, JSON read. */
function fieldsOf(event: SpanEvent, read: (value: AttributeValue | undefined) => unknown): Record<string, unknown> {
  const whole = read(event.attributes["gen_ai.event.content"]);
  if (isRecord(whole)) return whole;
  const { content, message, ...others } = event.attributes;
  const fields: Record<string, unknown> = { ...others, content: structureOf(content, read), message: structureOf(message, read) };
  for (const key of ["tool_calls", PROMPT.attribute, COMPLETION.attribute]) if (key in others) fields[key] = read(others[key]);
  return fields;
}

/** What was said as its blocks or fields, where it is a string of such; a text that only looks like JSON (a number, an object of its own) stays a text. */
function structureOf(value: AttributeValue | undefined, read: (value: AttributeValue | undefined) => unknown): unknown {
  if (typeof value === "string" && !/^\s*[[{]/.test(value)) return value;
  const plain = read(value);
  if (Array.isArray(plain) && plain.length > 0 && plain.every(isRecord)) return plain;
  if (isRecord(plain) && ("content" in plain || "tool_calls" in plain)) return plain;
  return typeof value === "string" && plain !== undefined ? value : plain;
}

/** Tools' answers in content blocks name their calls themselves; a message without anything in it was not captured, or was only a role. */
function messagesOf(role: string, fields: Record<string, unknown>): Message[] {
  const { content } = fields;
  const blocks = role === "tool" && Array.isArray(content) && content.some((block) => isRecord(block) && "toolResult" in block);
  return canonicalMessages({ ...fields, role: blocks ? "user" : role }).filter((message) => message.parts.length > 0);
}

/** `gen_ai.tool.message` carries the arguments and `gen_ai.choice` the answer. */
function readTool(span: Span): Reading {
  const asked = span.events.find((event) => ROLE[event.name] === "tool")?.attributes["content"];
  const answered = span.events.find((event) => event.name === CHOICE)?.attributes["message"];
  return {
    ...(asked === undefined ? {} : { arguments: payloadOf(jsonOf(asked).value) }),
    ...(answered === undefined ? {} : { result: payloadOf(answerOf(jsonOf(answered).value)) }),
  };
}
