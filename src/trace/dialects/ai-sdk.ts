import type { Call, Damage } from "../call.ts";
import { callPart, canonicalMessages, canonicalTools } from "../canonical.ts";
import { isRecord, jsonOf } from "../json.ts";
import type { Message, Part, ToolDefinition } from "../message.ts";
import type { Attributes, AttributeValue } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";
import { numberAt, present, readScalars, textAt, type ScalarTable } from "./fields.ts";

/** Spans around these (`ai.streamText`) repeat the first prompt, the last answer and the sum of tokens: structure. */
const KIND: Readonly<Record<string, Call["kind"]>> = {
  "ai.generateText.doGenerate": "inference",
  "ai.streamText.doStream": "inference",
  "ai.generateObject.doGenerate": "inference",
  "ai.streamObject.doStream": "inference",
  "ai.toolCall": "tool",
};

/** What users name as they like: metadata up to version 6, the runtime context in version 7 (on the spans around a model call only). */
const IDENTITY: ScalarTable = [
  {
    field: "conversationKey",
    keys: ["conversationId", "threadId", "chatId", "sessionId"].flatMap((key) => [
      `ai.telemetry.metadata.${key}`,
      `ai.settings.context.${key}`,
    ]),
  },
  { field: "subject", keys: ["ai.telemetry.metadata.userId", "ai.settings.context.userId"] },
];

const SCALARS: ScalarTable = [
  ...IDENTITY,
  { field: "provider", keys: ["gen_ai.system", "ai.model.provider"] },
  { field: "requestModel", keys: ["gen_ai.request.model", "ai.model.id"] },
  { field: "responseModel", keys: ["gen_ai.response.model", "ai.response.model"] },
  { field: "responseId", keys: ["gen_ai.response.id", "ai.response.id"] },
  { field: "toolName", keys: ["ai.toolCall.name"] },
  { field: "toolCallId", keys: ["ai.toolCall.id"] },
  { field: "agentName", keys: ["ai.telemetry.functionId"] },
];

/**
 * Vercel's AI SDK: versions 4 to 6 whole, as `ai.*` attributes with prompt, tools and calls as JSON. Version 7 speaks the GenAI conventions, and only its users'
 * own keys are read here.
 */
export const aiSdk: Dialect = {
  name: "ai-sdk",
  read(span) {
    const operation = textAt(span.attributes, "ai.operationId");
    if (operation === undefined) return readContext(span.attributes);
    const kind = Object.hasOwn(KIND, operation) ? KIND[operation] : undefined;
    const damage = new Set<Damage>();
    const reading: Reading = { kind: kind ?? "structure", ...readScalars(span.attributes, SCALARS) };
    if (kind === "tool") Object.assign(reading, readTool(span.attributes));
    if (kind === "inference") Object.assign(reading, readNumbers(span.attributes), readContent(span.attributes, damage));
    return { ...reading, damage: [...damage] };
  },
};

function readContext(attributes: Attributes): Reading | null {
  const reading = readScalars(attributes, IDENTITY);
  return Object.keys(reading).length === 0 ? null : reading;
}

function readNumbers(attributes: Attributes): Reading {
  const usage = present({
    inputTokens: numberAt(attributes, "ai.usage.inputTokens", "ai.usage.promptTokens", "gen_ai.usage.input_tokens"),
    outputTokens: numberAt(attributes, "ai.usage.outputTokens", "ai.usage.completionTokens", "gen_ai.usage.output_tokens"),
  });
  const sampling = present({
    temperature: numberAt(attributes, "ai.settings.temperature", "gen_ai.request.temperature"),
    topP: numberAt(attributes, "ai.settings.topP", "gen_ai.request.top_p"),
    maxTokens: numberAt(attributes, "ai.settings.maxOutputTokens", "ai.settings.maxTokens", "gen_ai.request.max_tokens"),
    seed: numberAt(attributes, "ai.settings.seed"),
  });
  const finish = textAt(attributes, "ai.response.finishReason");
  return { ...(usage && { usage }), ...(sampling && { sampling }), ...(finish === undefined ? {} : { finishReasons: [finish] }) };
}

function readContent(attributes: Attributes, damage: Set<Damage>): Reading {
  const read = (key: string): unknown => {
    const { value, broken } = jsonOf(attributes[key]);
    if (broken) damage.add("truncated_json");
    return broken ? undefined : value;
  };
  const input = read("ai.prompt.messages");
  const output = outputOf(attributes, read("ai.response.toolCalls"));
  const tools = toolsOf(attributes["ai.prompt.tools"], damage);
  return {
    ...(Array.isArray(input) ? { input: canonicalMessages(input) } : {}),
    ...(output === null ? {} : { output: [output] }),
    ...(tools === undefined ? {} : { tools }),
  };
}

/** A list of JSON texts: a limit on the length of values cuts each. */
function toolsOf(value: AttributeValue | undefined, damage: Set<Damage>): ToolDefinition[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const texts = value.map((text: AttributeValue) => jsonOf(text));
  if (texts.some(({ broken }) => broken)) damage.add("truncated_json");
  return canonicalTools(texts.filter(({ broken }) => !broken).map((text) => text.value));
}

/** A call that failed has none of these; one that only called tools has an empty text. */
function outputOf(attributes: Attributes, calls: unknown): Message | null {
  const reasoning = textAt(attributes, "ai.response.reasoning");
  const text = textAt(attributes, "ai.response.text") ?? textAt(attributes, "ai.response.object");
  const parts: Part[] = [
    ...(reasoning === undefined ? [] : [{ type: "reasoning", content: reasoning }]),
    ...(text === undefined ? [] : [{ type: "text", content: text }]),
    // `args` until version 4.
    ...(Array.isArray(calls) ? calls.filter(isRecord) : []).map((call) =>
      callPart(call["toolCallId"], call["toolName"], call["input"] ?? call["args"]),
    ),
  ];
  return parts.length === 0 ? null : { role: "assistant", parts };
}

function readTool(attributes: Attributes): Reading {
  const args = attributes["ai.toolCall.args"];
  const result = attributes["ai.toolCall.result"];
  return {
    ...(args === undefined ? {} : { arguments: jsonOf(args).value }),
    ...(result === undefined ? {} : { result: jsonOf(result).value }),
  };
}
