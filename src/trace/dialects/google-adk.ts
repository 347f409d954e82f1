import { canonicalMessages } from "../canonical.ts";
import type { Damage } from "../call.ts";
import { isRecord, jsonOf, payloadOf } from "../json.ts";
import { textOf, type Message } from "../message.ts";
import type { Attributes, LogEvent, Span } from "../span.ts";
import type { Dialect, Reading } from "./dialect.ts";
import { present, readScalars, textAt, type ScalarTable } from "./fields.ts";
import { geminiMessages, geminiTools } from "./gemini.ts";
import { withDetails } from "./genai.ts";
import { mayBeJoined } from "./pieces.ts";

const SCOPE = "gcp.vertex.agent";
const PREFIX = "gcp.vertex.agent.";

const SCALARS: ScalarTable = [
  { field: "requestModel", keys: ["gen_ai.request.model"] },
  { field: "conversationKey", keys: ["gcp.vertex.agent.session_id"] },
];

/**
 * Google's Agent Development Kit where it is not the GenAI conventions as they stand. Schema 1 (its first major version, later by opt-in) writes request and
 * answer in Gemini's form: on the `call_llm` span, or as log events of the span inside it. Schema 2 lists every piece of a stream as an output message.
 */
export const googleAdk: Dialect = {
  name: "google-adk",
  read(span, logs) {
    if (span.scope.name !== SCOPE) return null;
    const damage = new Set<Damage>();
    const reading =
      span.attributes["gen_ai.tool.name"] === undefined ? readModelCall(span, logs, damage) : readTool(span.attributes, damage);
    if (Object.keys(reading).length === 0 && damage.size === 0) return null;
    return { ...reading, damage: [...damage] };
  },
};

function readModelCall(span: Span, logs: readonly LogEvent[], damage: Set<Damage>): Reading {
  const { attributes } = span;
  if (attributes[`${PREFIX}llm_request`] !== undefined) {
    return {
      kind: "inference",
      ...readScalars(attributes, SCALARS),
      ...readRequest(attributes, damage),
      ...readResponse(attributes, damage),
    };
  }
  const { input, output } = readEvents(logs);
  const whole = wholeAnswer(withDetails(span, logs), damage);
  const user = logs.map((log) => textAt(log.attributes, "user.id")).find((id) => id !== undefined);
  return {
    ...(input.length === 0 ? {} : { input }),
    ...(output.length === 0 ? {} : { output }),
    ...(whole === null ? {} : { output: whole }),
    ...(user === undefined ? {} : { subject: user }),
  };
}

function readRequest(attributes: Attributes, damage: Set<Damage>): Reading {
  const request = read(attributes, "llm_request", damage);
  if (!isRecord(request)) return {};
  const config = isRecord(request["config"]) ? request["config"] : {};
  const input = [...geminiMessages(config["system_instruction"] ?? [], "system"), ...geminiMessages(request["contents"] ?? [])];
  const tools = geminiTools(config["tools"]);
  const sampling = present({
    temperature: numberOf(config["temperature"]),
    topP: numberOf(config["top_p"]),
    maxTokens: numberOf(config["max_output_tokens"]),
    seed: numberOf(config["seed"]),
  });
  return { ...(input.length === 0 ? {} : { input, tools }), ...(sampling && { sampling }) };
}

function readResponse(attributes: Attributes, damage: Set<Damage>): Reading {
  const response = read(attributes, "llm_response", damage);
  if (!isRecord(response)) return {};
  const output = geminiMessages(response["content"] ?? [], "assistant");
  const counts = isRecord(response["usage_metadata"]) ? response["usage_metadata"] : {};
  const usage = present({
    inputTokens: numberOf(counts["prompt_token_count"]),
    outputTokens: numberOf(counts["candidates_token_count"]),
  });
  const { finish_reason: reason, model_version: model } = response;
  return {
    ...(output.length === 0 ? {} : { output }),
    ...(usage && { usage }),
    ...(typeof model === "string" && model !== "" ? { responseModel: model } : {}),
    ...(typeof reason === "string" ? { finishReasons: [reason] } : {}),
  };
}

/** One event per content of the request, whoever said it; of the answers that a stream leaves, the last is whole. */
function readEvents(logs: readonly LogEvent[]): { input: Message[]; output: Message[] } {
  const input: Message[] = [];
  let output: Message[] = [];
  for (const log of logs.toSorted((a, b) => Number(a.timeNs - b.timeNs) || Number((a.sequence ?? 0n) - (b.sequence ?? 0n)))) {
    const body = jsonOf(log.body).value;
    const content = isRecord(body) ? body["content"] : undefined;
    if (content === undefined || content === ELIDED) continue;
    if (log.eventName === "gen_ai.system.message") input.push(...geminiMessages(content, "system"));
    else if (log.eventName === "gen_ai.user.message") input.push(...geminiMessages(content));
    else if (log.eventName === "gen_ai.choice") output = geminiMessages(content, "assistant");
  }
  return { input, output };
}

/** Stands for content where that is not to be captured. */
const ELIDED = "<elided>";

/**
 * A stream's output messages as one: the last, which ends with a reason and holds what the ones before it are pieces of; of a stream that was cut, the text that
 * came. Null where there are not several messages.
 */
function wholeAnswer(attributes: Attributes, damage: Set<Damage>): Message[] | null {
  const { value } = jsonOf(attributes["gen_ai.output.messages"]);
  if (!Array.isArray(value) || value.length < 2) return null;
  const last: unknown = value.at(-1);
  if (isRecord(last) && last["finish_reason"] !== "") return canonicalMessages(last);
  const content = canonicalMessages(value).map(textOf).join("");
  if (!mayBeJoined(content)) {
    damage.add("pii_unredacted");
    return null;
  }
  return canonicalMessages({ role: "assistant", content });
}

function readTool(attributes: Attributes, damage: Set<Damage>): Reading {
  const args = read(attributes, "tool_call_args", damage);
  const result = read(attributes, "tool_response", damage);
  return { ...(args === undefined ? {} : { arguments: payloadOf(args) }), ...(result === undefined ? {} : { result: payloadOf(result) }) };
}

/** The JSON at one of ADK's own attributes; undefined for its placeholder `{}`. */
function read(attributes: Attributes, name: string, damage: Set<Damage>): unknown {
  const raw = attributes[PREFIX + name];
  if (raw === undefined || raw === "{}") return undefined;
  const { value, broken } = jsonOf(raw);
  if (broken) damage.add("truncated_json");
  return broken ? undefined : value;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}
