import { readBlock } from "./content-blocks.ts";
import { isRecord, payloadOf } from "./json.ts";
import { isToolCallResponse, type Message, type Part, type ToolDefinition } from "./message.ts";

/**
 * Messages in whatever form SDKs put them into telemetry, as canonical ones: `{role, parts}` of the GenAI conventions with its known deviations,
 * `{role, content, tool_calls, tool_call_id}` of OpenAI's API, or the AI SDK's `{role, content: [{type: "tool-call"}]}`. Entries that are none are left out.
 * Every tool answer is a message of its own, of role `tool`.
 */
export function canonicalMessages(value: unknown): Message[] {
  const list = Array.isArray(value) ? value : [value];
  return list.filter(isRecord).flatMap((raw) => oneResultEach(canonicalMessage(raw)));
}

/**
 * Chat templates know one message per tool result; the conventions let one message hold those of all parallel calls, and Pydantic AI, Strands and Anthropic's form
 * put them into one of role `user`: taken for a user's turn, it would be one too many. The name that some
 * clients add is the tool's, which the call has.
 */
function oneResultEach(message: Message): Message[] {
  if (!message.parts.some(isToolCallResponse)) return [message];
  const messages: Message[] = [];
  for (const part of message.parts) {
    const last = messages.at(-1);
    if (isToolCallResponse(part)) messages.push({ role: "tool", parts: [part] });
    else if (last === undefined || last.parts.some(isToolCallResponse)) messages.push({ ...message, parts: [part] });
    else last.parts.push(part);
  }
  return messages;
}

export function canonicalMessage(raw: Record<string, unknown>): Message {
  const role = typeof raw["role"] === "string" ? raw["role"] : "user";
  const named = typeof raw["name"] === "string" ? { name: raw["name"] } : {};
  if (Array.isArray(raw["parts"])) return { role, parts: canonicalParts(raw["parts"]), ...named };
  const content = raw["content"];
  if (role === "tool" && Array.isArray(content) && content.some((part) => isRecord(part) && part["type"] === "tool-result"))
    return { role, parts: contentParts(content), ...named };
  const callId = raw["tool_call_id"] ?? (role === "tool" ? raw["id"] : undefined);
  if (role === "tool") return { role, parts: [responsePart(callId, content)], ...named };
  return { role, parts: [...contentParts(content), ...toolCallParts(raw["tool_calls"])], ...named };
}

/** System instructions: a bare string, text parts, or messages. Null when there are none. */
export function systemMessage(value: unknown): Message | null {
  const parts = contentParts(value);
  return parts.length === 0 ? null : { role: "system", parts };
}

/** Tool definitions: OpenAI's nested form, the flat form, or JSON strings of either; names alone are kept. JSON that was cut is left out, being no name. */
export function canonicalTools(value: unknown): ToolDefinition[] {
  const list = Array.isArray(value) ? value : [value];
  return list.flatMap((raw) => {
    const item = payloadOf(raw);
    if (!isRecord(item)) return typeof item === "string" && /^[^[{]/.test(item) ? [{ name: item }] : [];
    const definition = isRecord(item["function"]) ? item["function"] : item;
    if (typeof definition["name"] !== "string") return [];
    const schema =
      definition["parameters"] ?? definition["inputSchema"] ?? definition["input_schema"] ?? definition["parameters_json_schema"];
    const parameters = payloadOf(schema);
    return [
      {
        name: definition["name"],
        ...(typeof definition["description"] === "string" ? { description: definition["description"] } : {}),
        ...(isRecord(parameters) ? { parameters: isRecord(parameters["json"]) ? parameters["json"] : parameters } : {}),
        ...annotated(item, definition),
      },
    ];
  });
}

const HINTS = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] as const;

/**
 * MCP's annotations of a tool, where an SDK recorded them: as the protocol has them, under `metadata` (Pydantic AI), or beside the nested definition. Only
 * hints that are really booleans count.
 */
export function annotated(...definitions: readonly Record<string, unknown>[]): Pick<ToolDefinition, "annotations"> {
  for (const definition of definitions) {
    const metadata = definition["metadata"];
    const found = definition["annotations"] ?? (isRecord(metadata) ? metadata["annotations"] : undefined);
    if (!isRecord(found)) continue;
    const hints = HINTS.filter((hint) => typeof found[hint] === "boolean").map((hint) => [hint, found[hint]] as const);
    if (hints.length > 0) return { annotations: Object.fromEntries(hints) };
  }
  return {};
}

/** Streams begin with an empty text, which some SDKs record as a part beside the calls: it says nothing. */
function canonicalParts(list: readonly unknown[]): Part[] {
  return list
    .filter(isRecord)
    .map(canonicalPart)
    .filter((part) => part.type !== "text" || part["content"] !== "");
}

function canonicalPart(raw: Record<string, unknown>): Part {
  const block = readBlock(raw);
  if (block?.kind === "call") return callPart(block.id, block.name, block.arguments);
  if (block?.kind === "answer") return responsePart(block.id, block.response);
  if (block?.kind === "text") return { type: "text", content: block.text };
  const type = typeof raw["type"] === "string" ? raw["type"] : "unknown";
  if (type === "text") return withContent(raw, "text");
  if (type === "reasoning" || type === "thinking") return withContent(raw, "reasoning");
  if (type === "tool_call") return callPart(raw["id"], raw["name"], raw["arguments"]);
  if (type === "tool_call_response") return responsePart(raw["id"], raw["response"] ?? raw["result"]);
  // The AI SDK's; `args` and `result` until its version 4.
  if (type === "tool-call") return callPart(raw["toolCallId"], raw["toolName"], raw["input"] ?? raw["args"]);
  if (type === "tool-result") return responsePart(raw["toolCallId"], resultOf(raw["output"]) ?? raw["result"]);
  return { ...raw, type };
}

/** Chat APIs and the AI SDK have `text` where the conventions have `content`. */
function withContent({ text, ...raw }: Record<string, unknown>, type: "text" | "reasoning"): Part {
  return { ...raw, type, content: textOf(raw["content"] ?? text) };
}

/** The AI SDK wraps what a tool gave: `{type: "json" | "text" | "error-text" | …, value}`. */
function resultOf(output: unknown): unknown {
  return isRecord(output) && "value" in output ? output["value"] : output;
}

function contentParts(content: unknown): Part[] {
  if (typeof content === "string") return content === "" ? [] : [{ type: "text", content }];
  if (!Array.isArray(content)) return [];
  return content.flatMap((item: unknown): Part[] => {
    if (typeof item === "string") return [{ type: "text", content: item }];
    if (!isRecord(item)) return [];
    return canonicalParts(Array.isArray(item["parts"]) ? item["parts"] : [item]);
  });
}

function toolCallParts(calls: unknown): Part[] {
  if (!Array.isArray(calls)) return [];
  return calls.filter(isRecord).map((call) => {
    const target = isRecord(call["function"]) ? call["function"] : call;
    return callPart(call["id"], target["name"], target["arguments"]);
  });
}

export function callPart(id: unknown, name: unknown, args: unknown): Part {
  return { type: "tool_call", ...idOf(id), name: textOf(name), arguments: payloadOf(args) ?? {} };
}

export function responsePart(id: unknown, response: unknown): Part {
  return { type: "tool_call_response", ...idOf(id), response: payloadOf(response) ?? null };
}

function idOf(id: unknown): { id?: string } {
  return typeof id === "string" && id !== "" ? { id } : {};
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);
}
