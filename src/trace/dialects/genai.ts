import { canonicalMessages, canonicalTools, systemMessage } from "../canonical.ts";
import type { Call, Damage } from "../call.ts";
import { isRecord, jsonOf, payloadOf } from "../json.ts";
import type { Message } from "../message.ts";
import type { Attributes, LogEvent, Span } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";
import { numberAt, present, readScalars, type ScalarTable } from "./fields.ts";

const KIND: Readonly<Record<string, Call["kind"]>> = {
  chat: "inference",
  generate_content: "inference",
  text_completion: "inference",
  execute_tool: "tool",
};

const SCALARS: ScalarTable = [
  { field: "provider", keys: ["gen_ai.provider.name", "gen_ai.system"] },
  { field: "requestModel", keys: ["gen_ai.request.model"] },
  { field: "responseModel", keys: ["gen_ai.response.model"] },
  { field: "responseId", keys: ["gen_ai.response.id"] },
  { field: "toolName", keys: ["gen_ai.tool.name"] },
  { field: "toolCallId", keys: ["gen_ai.tool.call.id"] },
  { field: "agentName", keys: ["gen_ai.agent.name"] },
  { field: "conversationKey", keys: ["gen_ai.conversation.id"] },
];

/** The log event that carries an inference's attributes, content included, for emitters that keep content off spans. */
const DETAILS_EVENT = "gen_ai.client.inference.operation.details";

/**
 * The GenAI conventions since 1.37: messages as one attribute each, a structured value or a string of JSON, on the span or on its details event.
 * Scalars of all generations are read here too.
 */
export const genai: Dialect = {
  name: "genai",
  read(span, logs) {
    const operation = span.attributes["gen_ai.operation.name"];
    if (typeof operation !== "string") return null;
    const attributes = withDetails(span, logs);
    const kind = isNoOperation(span.attributes) ? "structure" : (KIND[operation] ?? "structure");
    const damage = new Set<Damage>();
    const reading: Reading = { kind, ...readScalars(attributes, SCALARS), ...readNumbers(attributes), ...readFinish(attributes) };
    if (kind === "tool") Object.assign(reading, readTool(attributes));
    else Object.assign(reading, readContent(attributes, damage));
    return { ...reading, damage: [...damage] };
  },
};

/** LangSmith calls it a chat, too, when a prompt template is filled; Google ADK has a span around parallel executions, which executes nothing. */
function isNoOperation(attributes: Attributes): boolean {
  return attributes["langsmith.span.kind"] === "prompt" || attributes["gen_ai.tool.name"] === "(merged tools)";
}

/** A span's attributes with those of its details event, the span's first. */
export function withDetails(span: Span, logs: readonly LogEvent[]): Attributes {
  const merged: Record<string, Attributes[string]> = {};
  for (const log of logs) if (log.eventName === DETAILS_EVENT) Object.assign(merged, log.attributes);
  return { ...merged, ...span.attributes };
}

function readNumbers(attributes: Attributes): Reading {
  const usage = present({
    inputTokens: numberAt(attributes, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    outputTokens: numberAt(attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
  });
  const sampling = present({
    temperature: numberAt(attributes, "gen_ai.request.temperature"),
    topP: numberAt(attributes, "gen_ai.request.top_p"),
    maxTokens: numberAt(attributes, "gen_ai.request.max_tokens"),
    seed: numberAt(attributes, "gen_ai.request.seed"),
  });
  return { ...(usage && { usage }), ...(sampling && { sampling }) };
}

/** Finish reasons are an array, or its JSON in a string (agent-framework). */
function readFinish(attributes: Attributes): Reading {
  const { value } = jsonOf(attributes["gen_ai.response.finish_reasons"]);
  const list = Array.isArray(value) ? value.filter((reason) => typeof reason === "string") : typeof value === "string" ? [value] : [];
  return list.length === 0 ? {} : { finishReasons: list };
}

function readTool(attributes: Attributes): Reading {
  const args = attributes["gen_ai.tool.call.arguments"];
  const result = attributes["gen_ai.tool.call.result"];
  return {
    ...(args === undefined ? {} : { arguments: payloadOf(jsonOf(args).value) }),
    ...(result === undefined ? {} : { result: payloadOf(jsonOf(result).value) }),
  };
}

function readContent(attributes: Attributes, damage: Set<Damage>): Reading {
  const read = (key: string): unknown => {
    const { value, broken } = jsonOf(attributes[key]);
    if (broken) damage.add("truncated_json");
    return broken ? undefined : value;
  };
  const reading: Reading = {};
  const input = read("gen_ai.input.messages");
  const system = systemMessage(read("gen_ai.system_instructions"));
  if (input !== undefined || system !== null) reading.input = withSystem(system, input === undefined ? [] : canonicalMessages(input));
  const output = read("gen_ai.output.messages");
  if (output !== undefined) {
    reading.output = canonicalMessages(output);
    const reasons = messageFinishReasons(output);
    if (reasons.length > 0 && attributes["gen_ai.response.finish_reasons"] === undefined) reading.finishReasons = reasons;
  }
  const tools = read("gen_ai.tool.definitions");
  if (tools !== undefined) reading.tools = canonicalTools(tools);
  return reading;
}

/** The instructions may also be repeated as the first input message. */
function withSystem(system: Message | null, input: readonly Message[]): Message[] {
  return system === null || input[0]?.role === "system" ? [...input] : [system, ...input];
}

/** Until 2026 the finish reason sat on each output message. */
function messageFinishReasons(output: unknown): string[] {
  const list: unknown[] = Array.isArray(output) ? output : [output];
  return list.flatMap((message) => (isRecord(message) && typeof message["finish_reason"] === "string" ? [message["finish_reason"]] : []));
}
