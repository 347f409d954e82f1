import { annotated } from "../../trace/canonical.ts";
import type { Message, Part, ToolDefinition } from "../../trace/message.ts";
import { count, parsedOrText, present, record, records, text, type LiveAnswer, type LiveApi, type StreamCollector } from "./live-api.ts";

/** `POST /v1/chat/completions`. */
export const OPENAI_CHAT: LiveApi = {
  operation: "chat",
  provider: "openai",
  idempotent: true,
  maxTokensFields: ["max_completion_tokens", "max_tokens"],
  readRequest: (body) => ({ input: records(body["messages"]).map(chatMessage), tools: toolDefinitions(body["tools"]) }),
  readAnswer: (body) => {
    const choices = records(body["choices"]);
    return {
      ...identity(body),
      output: choices.map((choice) => chatMessage({ role: "assistant", ...record(choice["message"]) })),
      finishReasons: choices.flatMap((choice) => text(choice["finish_reason"]) ?? []),
      usage: openaiUsage(body["usage"]),
    };
  },
  collect: collectChat,
};

/** `POST /v1/completions`: a prompt that is text is one user message; a prompt of token ids has no text to show. */
export const OPENAI_COMPLETIONS: LiveApi = {
  operation: "text_completion",
  provider: "openai",
  idempotent: true,
  maxTokensFields: ["max_tokens"],
  readRequest: (body) => ({
    input: (Array.isArray(body["prompt"]) ? body["prompt"] : [body["prompt"]])
      .filter((prompt) => typeof prompt === "string")
      .map((content): Message => ({ role: "user", parts: [{ type: "text", content }] })),
    tools: null,
  }),
  readAnswer: (body) => {
    const choices = records(body["choices"]);
    return {
      ...identity(body),
      output: choices.map((choice) => ({ role: "assistant", parts: [{ type: "text", content: text(choice["text"]) ?? "" }] })),
      finishReasons: choices.flatMap((choice) => text(choice["finish_reason"]) ?? []),
      usage: openaiUsage(body["usage"]),
    };
  },
  collect: () => collectChoices((choice, delta) => (choice["text"] = (text(choice["text"]) ?? "") + (text(delta["text"]) ?? ""))),
};

export function toolDefinitions(tools: unknown): readonly ToolDefinition[] | null {
  if (!Array.isArray(tools)) return null;
  return records(tools).flatMap((tool) => {
    // Chat nests the definition under `function`, the Responses API and Anthropic's do not.
    const definition = tool["function"] === undefined ? tool : record(tool["function"]);
    const name = text(definition["name"]);
    if (name === undefined) return [];
    const parameters = definition["parameters"] ?? definition["input_schema"];
    return [
      present({
        name,
        description: text(definition["description"]),
        parameters: parameters === undefined ? undefined : record(parameters),
        ...annotated(definition, tool),
      }),
    ];
  });
}

function identity(body: Record<string, unknown>): { id?: string; model?: string } {
  return present({ id: text(body["id"]), model: text(body["model"]) });
}

export function openaiUsage(value: unknown): LiveAnswer["usage"] {
  const usage = record(value);
  return present({
    inputTokens: count(usage["prompt_tokens"]) ?? count(usage["input_tokens"]),
    outputTokens: count(usage["completion_tokens"]) ?? count(usage["output_tokens"]),
    cacheReadTokens: count(record(usage["prompt_tokens_details"] ?? usage["input_tokens_details"])["cached_tokens"]),
    reasoningTokens: count(record(usage["completion_tokens_details"] ?? usage["output_tokens_details"])["reasoning_tokens"]),
  });
}

function chatMessage(message: Record<string, unknown>): Message {
  const role = text(message["role"]) ?? "user";
  const name = text(message["name"]);
  const parts =
    role === "tool"
      ? [present({ type: "tool_call_response", id: text(message["tool_call_id"]), response: toolResponse(message["content"]) })]
      : [...reasoning(message), ...contentParts(message["content"]), ...toolCalls(message["tool_calls"])];
  return { role, parts: parts as Part[], ...(name === undefined ? {} : { name }) };
}

function toolResponse(content: unknown): unknown {
  if (!Array.isArray(content)) return parsedOrText(content ?? "");
  return parsedOrText(
    records(content)
      .map((part) => text(part["text"]) ?? "")
      .join(""),
  );
}

function reasoning(message: Record<string, unknown>): Part[] {
  const content = text(message["reasoning"]) ?? text(message["reasoning_content"]);
  return content === undefined || content === "" ? [] : [{ type: "reasoning", content }];
}

export function contentParts(content: unknown): Part[] {
  if (typeof content === "string") return content === "" ? [] : [{ type: "text", content }];
  return records(content).map((part): Part => {
    const type = text(part["type"]) ?? "unknown";
    if (["text", "input_text", "output_text"].includes(type)) return { type: "text", content: text(part["text"]) ?? "" };
    return { ...part, type };
  });
}

function toolCalls(calls: unknown): Part[] {
  return records(calls).map((call) => {
    const called = record(call["function"]);
    return present({
      type: "tool_call",
      id: text(call["id"]),
      name: text(called["name"]) ?? "",
      arguments: parsedOrText(called["arguments"]),
    });
  });
}

function collectChat(): StreamCollector {
  return collectChoices((choice, chunk) => {
    const message = record((choice["message"] ??= { role: "assistant", content: "" }));
    const delta = record(chunk["delta"]);
    for (const field of ["content", "reasoning", "reasoning_content"]) {
      const piece = text(delta[field]);
      if (piece !== undefined) message[field] = (text(message[field]) ?? "") + piece;
    }
    for (const piece of records(delta["tool_calls"])) addToolCall(message, piece);
  });
}

function addToolCall(message: Record<string, unknown>, piece: Record<string, unknown>): void {
  const calls = (message["tool_calls"] ??= []) as Record<string, unknown>[];
  const index = count(piece["index"]) ?? Math.max(0, calls.length - 1);
  // An index far out would make a huge sparse array; no model calls that many tools at once.
  if (index > 1_000) return;
  const call = (calls[index] ??= { id: undefined, function: { name: "", arguments: "" } });
  call["id"] ??= text(piece["id"]);
  const [called, added] = [record(call["function"]), record(piece["function"])];
  called["name"] = `${text(called["name"]) ?? ""}${text(added["name"]) ?? ""}`;
  called["arguments"] = `${text(called["arguments"]) ?? ""}${text(added["arguments"]) ?? ""}`;
}

/** Joins the chunks of a chat or text completion; `add` merges one choice's chunk. */
function collectChoices(add: (choice: Record<string, unknown>, chunk: Record<string, unknown>) => void): StreamCollector {
  const body: Record<string, unknown> = {};
  const choices: Record<string, unknown>[] = [];
  return {
    event(data) {
      for (const field of ["id", "model", "usage"]) {
        if (data[field] !== undefined && data[field] !== null) body[field] = data[field];
      }
      for (const chunk of records(data["choices"])) {
        const index = count(chunk["index"]) ?? 0;
        if (index < 0 || index > 1_000) continue;
        const choice = (choices[index] ??= {});
        add(choice, chunk);
        if (text(chunk["finish_reason"]) !== undefined) choice["finish_reason"] = chunk["finish_reason"];
      }
    },
    body: () => ({ ...body, choices: choices.filter((choice) => choice !== undefined) }),
  };
}
