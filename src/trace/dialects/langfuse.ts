import type { Call, Damage } from "../call.ts";
import { canonicalMessage, canonicalMessages, canonicalTools } from "../canonical.ts";
import { isRecord, jsonOf, payloadOf } from "../json.ts";
import type { Message } from "../message.ts";
import type { Attributes } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";
import { numberAt, present, readScalars, type ScalarTable } from "./fields.ts";
import { gluedDocuments } from "./glued-calls.ts";

const KIND: Readonly<Record<string, Call["kind"]>> = { generation: "inference", tool: "tool" };

const SCALARS: ScalarTable = [
  // The model that was asked for; after an answer that was not streamed, the one that answered.
  { field: "requestModel", keys: ["langfuse.observation.model.name"] },
  { field: "conversationKey", keys: ["session.id", "langfuse.session.id"] },
  { field: "subject", keys: ["user.id", "langfuse.user.id"] },
];

/** Langfuse's SDK: the client's own request and answer as strings of JSON on every observation. */
export const langfuse: Dialect = {
  name: "langfuse",
  read(span) {
    const type = span.attributes["langfuse.observation.type"];
    if (typeof type !== "string") return null;
    const kind = (Object.hasOwn(KIND, type) ? KIND[type] : undefined) ?? "structure";
    const damage = new Set<Damage>();
    const reading: Reading = { kind };
    if (kind === "tool") Object.assign(reading, { toolName: span.name, ...readTool(span.attributes) });
    if (kind === "inference") Object.assign(reading, readInference(span.attributes, damage));
    return { ...reading, ...readScalars(span.attributes, SCALARS), damage: [...damage] };
  },
};

function readInference(attributes: Attributes, damage: Set<Damage>): Reading {
  const read = (key: string): unknown => {
    const { value, broken } = jsonOf(attributes[key]);
    if (broken) damage.add("truncated_json");
    return broken ? undefined : value;
  };
  const request = read("langfuse.observation.input");
  const messages = isRecord(request) && "messages" in request ? request["messages"] : request;
  const input = typeof messages === "string" ? canonicalMessages({ role: "user", content: messages }) : canonicalMessages(messages);
  const output = answersOf(read("langfuse.observation.output"));
  const tools = isRecord(request) && request["tools"] !== undefined ? canonicalTools(request["tools"]) : [];
  return {
    ...readNumbers(read("langfuse.observation.model.parameters"), read("langfuse.observation.usage_details")),
    ...(input.length > 0 ? { input } : {}),
    ...(output.length > 0 ? { output } : {}),
    ...(tools.length > 0 ? { tools } : {}),
  };
}

/** A message, its text alone, or (in other integrations) a whole completion. */
function answersOf(value: unknown): Message[] {
  if (typeof value === "string") return value === "" ? [] : [canonicalMessage({ role: "assistant", content: value })];
  const choices: unknown = isRecord(value) ? value["choices"] : undefined;
  const messages: unknown[] = Array.isArray(choices)
    ? choices.map((choice: unknown) => (isRecord(choice) ? choice["message"] : undefined))
    : Array.isArray(value)
      ? value
      : [value];
  return messages
    .filter(isRecord)
    .filter((message) => !isGarbled(message))
    .map((message) => canonicalMessage({ ...message, role: "assistant" }))
    .filter((message) => message.parts.length > 0);
}

/** Of parallel calls in a stream `observeOpenAI` keeps the last name with the arguments of all in a row: no call of those was made. */
function isGarbled(message: Record<string, unknown>): boolean {
  const calls = Array.isArray(message["tool_calls"]) ? message["tool_calls"].filter(isRecord) : [];
  return calls.some((call) => {
    const args = isRecord(call["function"]) ? call["function"]["arguments"] : undefined;
    return typeof args === "string" && gluedDocuments(args) !== null;
  });
}

/** Cached tokens and their like are taken off `input` and `output` and counted on their own. */
function readNumbers(parameters: unknown, usage: unknown): Reading {
  const asked = (isRecord(parameters) ? parameters : {}) as Attributes;
  const used = (isRecord(usage) ? usage : {}) as Attributes;
  const total = (side: "input" | "output"): number | undefined => {
    const plain = numberAt(used, side);
    const details = Object.keys(used).filter((key) => key.startsWith(`${side}_`));
    return plain === undefined ? undefined : details.reduce((sum, key) => sum + (numberAt(used, key) ?? 0), plain);
  };
  const counted = present({ inputTokens: total("input"), outputTokens: total("output") });
  const sampling = present({
    temperature: numberAt(asked, "temperature"),
    topP: numberAt(asked, "top_p"),
    maxTokens: numberAt(asked, "max_completion_tokens", "max_tokens"),
    seed: numberAt(asked, "seed"),
  });
  return { ...(counted && { usage: counted }), ...(sampling && { sampling }) };
}

function readTool(attributes: Attributes): Reading {
  const args = attributes["langfuse.observation.input"];
  const result = attributes["langfuse.observation.output"];
  return {
    ...(args === undefined ? {} : { arguments: payloadOf(jsonOf(args).value) }),
    ...(result === undefined ? {} : { result: payloadOf(jsonOf(result).value) }),
  };
}
