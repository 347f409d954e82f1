import type { Call, Damage } from "../call.ts";
import { canonicalMessage, canonicalTools } from "../canonical.ts";
import { isRecord, jsonOf, tryJson } from "../json.ts";
import type { Message } from "../message.ts";
import type { Attributes } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";
import { numberAt, present, readScalars, textAt, type ScalarTable } from "./fields.ts";
import { unflatten } from "./flattened.ts";

/** `traceloop.span.kind` of what an app declares with decorators, around the model calls. */
const KIND: Readonly<Record<string, Call["kind"]>> = { tool: "tool", workflow: "structure", task: "structure", agent: "structure" };
/** `llm.request.type` of what answers with messages. */
const INFERENCES: ReadonlySet<string> = new Set(["chat", "completion"]);

const SCALARS: ScalarTable = [
  { field: "provider", keys: ["gen_ai.system"] },
  { field: "requestModel", keys: ["gen_ai.request.model"] },
  { field: "responseModel", keys: ["gen_ai.response.model"] },
  { field: "responseId", keys: ["gen_ai.response.id"] },
  {
    field: "conversationKey",
    keys: ["conversation_id", "thread_id", "session_id"].map((key) => `traceloop.association.properties.${key}`),
  },
  { field: "subject", keys: ["traceloop.association.properties.user_id"] },
];

/**
 * OpenLLMetry (Traceloop): the flattened form that it had until 2026 and that some of its instrumentations and all pinned ones still have
 * (`gen_ai.prompt.N.content`), and what it wraps around model calls in any form. Its newer form is the GenAI conventions.
 */
export const traceloop: Dialect = {
  name: "traceloop",
  read(span) {
    const { attributes } = span;
    const wrapper = textAt(attributes, "traceloop.span.kind");
    const isInference = INFERENCES.has(textAt(attributes, "llm.request.type") ?? "");
    const about = readScalars(attributes, SCALARS);
    if (!isInference && wrapper === undefined && about.conversationKey === undefined && about.subject === undefined) return null;
    if (isInference) return { ...about, ...readInference(attributes) };
    const kind = Object.hasOwn(KIND, wrapper ?? "") ? KIND[wrapper ?? ""] : undefined;
    return { ...(kind && { kind }), ...about, ...(kind === "tool" ? readTool(attributes) : {}) };
  },
};

function readInference(attributes: Attributes): Reading {
  const damage = new Set<Damage>();
  const list = (prefix: string): Record<string, unknown>[] => {
    const { items, overBudget } = unflatten(attributes, prefix);
    if (overBudget) damage.add("dropped_attributes");
    return items;
  };
  const input = list("gen_ai.prompt").map((item) => messageOf(item, "user"));
  const completions = list("gen_ai.completion");
  const output = completions.map((item) => messageOf(item, "assistant")).filter(({ parts }) => parts.length > 0);
  const reasons = completions.flatMap(({ finish_reason: reason }) => (typeof reason === "string" && reason !== "" ? [reason] : []));
  // JavaScript's calls the schema `arguments`.
  const tools = list("llm.request.functions").flatMap((item) =>
    canonicalTools({ ...item, parameters: item["parameters"] ?? item["arguments"] }),
  );
  const usage = present({
    inputTokens: numberAt(attributes, "gen_ai.usage.prompt_tokens", "gen_ai.usage.input_tokens"),
    outputTokens: numberAt(attributes, "gen_ai.usage.completion_tokens", "gen_ai.usage.output_tokens"),
  });
  const sampling = present({
    temperature: numberAt(attributes, "gen_ai.request.temperature"),
    topP: numberAt(attributes, "gen_ai.request.top_p"),
    maxTokens: numberAt(attributes, "gen_ai.request.max_tokens"),
  });
  return {
    kind: "inference",
    ...(input.length > 0 ? { input } : {}),
    ...(output.length > 0 ? { output } : {}),
    ...(tools.length > 0 ? { tools } : {}),
    ...(reasons.length > 0 ? { finishReasons: reasons } : {}),
    ...(usage && { usage }),
    ...(sampling && { sampling }),
    damage: [...damage],
  };
}

/** Content that was no text is there as its JSON: a list of parts, or `null` where an assistant's turn was only tool calls. */
function messageOf(item: Record<string, unknown>, otherwise: string): Message {
  const role = typeof item["role"] === "string" ? item["role"] : otherwise;
  const content = role === "assistant" && item["content"] === "null" ? null : item["content"];
  const list = role !== "tool" && typeof content === "string" && content.startsWith("[") ? tryJson(content) : undefined;
  const isParts =
    Array.isArray(list) && list.length > 0 && list.every((part: unknown) => isRecord(part) && typeof part["type"] === "string");
  return canonicalMessage({ ...item, role, content: isParts ? list : content });
}

function readTool(attributes: Attributes): Reading {
  const name = textAt(attributes, "traceloop.entity.name");
  const input = attributes["traceloop.entity.input"];
  const output = attributes["traceloop.entity.output"];
  return {
    ...(name === undefined ? {} : { toolName: name }),
    ...(input === undefined ? {} : { arguments: jsonOf(input).value }),
    ...(output === undefined ? {} : { result: jsonOf(output).value }),
  };
}
