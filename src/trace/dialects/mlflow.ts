import { canonicalMessages, canonicalTools } from "../canonical.ts";
import type { Call, Damage } from "../call.ts";
import { isRecord, jsonOf, payloadOf, tryJson } from "../json.ts";
import { textOf } from "../message.ts";
import type { Span } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";
import { present } from "./fields.ts";
import { joinChunks } from "./openai-chunks.ts";
import { mayBeJoined } from "./pieces.ts";

const KIND: Readonly<Record<string, Call["kind"]>> = { CHAT_MODEL: "inference", LLM: "inference", TOOL: "tool" };
const CHUNK = "mlflow.chunk.item.";

/**
 * MLflow's own spans over OTLP: every attribute is a string of JSON, a model call's request and answer whole in OpenAI's form. A streamed answer is told
 * with its text only, tool calls left out, and its chunks are span events: put together, they tell the rest. Session and user are not sent.
 */
export const mlflow: Dialect = {
  name: "mlflow",
  read(span) {
    const type = jsonOf(span.attributes["mlflow.spanType"]).value;
    if (typeof type !== "string") return null;
    const damage = new Set<Damage>();
    const inputs = read(span, "mlflow.spanInputs", damage);
    const outputs = read(span, "mlflow.spanOutputs", damage);
    const kind = KIND[type] ?? "structure";
    if (kind === "tool") return { kind, toolName: span.name, arguments: inputs, result: payloadOf(outputs), damage: [...damage] };
    if (kind !== "inference") return { kind };
    const request = isRecord(inputs) ? inputs : {};
    const answer = isRecord(outputs) ? outputs : {};
    return { kind, ...readRequest(span, request, damage), ...readAnswer(span, answer, damage), damage: [...damage] };
  },
};

function readRequest(span: Span, request: Record<string, unknown>, damage: Set<Damage>): Reading {
  const input = canonicalMessages(request["messages"] ?? read(span, "mlflow.chat.messages", damage) ?? []);
  const tools = canonicalTools(request["tools"] ?? read(span, "mlflow.chat.tools", damage) ?? []);
  const sampling = present({
    temperature: numberOf(request["temperature"]),
    topP: numberOf(request["top_p"]),
    maxTokens: numberOf(request["max_completion_tokens"] ?? request["max_tokens"]),
    seed: numberOf(request["seed"]),
  });
  return {
    ...(input.length === 0 ? {} : { input, tools }),
    ...(sampling && { sampling }),
    ...(typeof request["model"] === "string" ? { requestModel: request["model"] } : {}),
  };
}

function readAnswer(span: Span, answer: Record<string, unknown>, damage: Set<Damage>): Reading {
  const counts = read(span, "mlflow.chat.tokenUsage", damage);
  const usage = isRecord(counts)
    ? present({ inputTokens: numberOf(counts["input_tokens"]), outputTokens: numberOf(counts["output_tokens"]) })
    : undefined;
  const model = answer["model"] ?? read(span, "mlflow.llm.model", damage);
  return {
    ...(usage && { usage }),
    ...(typeof model === "string" ? { responseModel: model } : {}),
    ...(typeof answer["id"] === "string" ? { responseId: answer["id"] } : {}),
    ...(readStream(span, answer, damage) ?? readChoices(answer)),
  };
}

function readChoices(answer: Record<string, unknown>): Reading {
  const choices = Array.isArray(answer["choices"]) ? answer["choices"].filter(isRecord) : [];
  const output = canonicalMessages(choices.map((choice) => choice["message"])).filter((message) => message.parts.length > 0);
  const finishReasons = choices.map((choice) => choice["finish_reason"]).filter((reason) => typeof reason === "string");
  return { ...(output.length === 0 ? {} : { output }), ...(finishReasons.length === 0 ? {} : { finishReasons }) };
}

/**
 * The answer from its chunks; null where it was no stream. Of a long stream the SDK drops the first ones: the rest still tells whether it ended with tool
 * calls; if not, the text on the span is all there was.
 */
function readStream(span: Span, answer: Record<string, unknown>, damage: Set<Damage>): Reading | null {
  const chunks = span.events.flatMap((event) => {
    const value = event.attributes["mlflow.chunk.value"];
    return event.name.startsWith(CHUNK) && typeof value === "string" ? [tryJson(value)] : [];
  });
  if (chunks.length === 0) return null;
  const { calls, finishReason } = joinChunks(chunks);
  const finishReasons = finishReason === null ? {} : { finishReasons: [finishReason] };
  const isWhole = span.droppedEvents === 0;
  if (calls.length === 0 && (isWhole || finishReason === "stop"))
    return { ...readChoices(answer), ...finishReasons, eventsToldElsewhere: true };
  if (!isWhole) return finishReasons;
  if (!calls.every((call) => mayBeJoined(call.function.arguments))) {
    damage.add("pii_unredacted");
    return finishReasons;
  }
  const told = readChoices(answer).output?.[0];
  return {
    output: canonicalMessages({ role: "assistant", content: told === undefined ? "" : textOf(told), tool_calls: calls }),
    ...finishReasons,
  };
}

/** Attributes are JSON throughout, scalars too. */
function read(span: Span, name: string, damage: Set<Damage>): unknown {
  const raw = span.attributes[name];
  const { value, broken } = jsonOf(raw);
  if (broken) damage.add("truncated_json");
  return typeof raw === "string" ? tryJson(raw) : value;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}
