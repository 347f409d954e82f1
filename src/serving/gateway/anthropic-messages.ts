import type { Message, Part } from "../../trace/message.ts";
import { count, parsedOrText, present, record, records, text, type LiveAnswer, type LiveApi, type StreamCollector } from "./live-api.ts";
import { toolDefinitions } from "./openai-chat.ts";

/** `POST /v1/messages`. */
export const ANTHROPIC_MESSAGES: LiveApi = {
  operation: "chat",
  provider: "anthropic",
  idempotent: true,
  maxTokensFields: ["max_tokens"],
  readRequest: (body) => {
    const system = blocks(body["system"]);
    const messages = records(body["messages"]).map((message): Message => ({
      role: text(message["role"]) ?? "user",
      parts: blocks(message["content"]),
    }));
    return {
      input: [...(system.length === 0 ? [] : [{ role: "system", parts: system }]), ...messages],
      tools: toolDefinitions(body["tools"]),
    };
  },
  readAnswer: (body) => {
    const stopReason = text(body["stop_reason"]);
    return {
      ...present({ id: text(body["id"]), model: text(body["model"]) }),
      output: body["content"] === undefined ? [] : [{ role: "assistant", parts: blocks(body["content"]) }],
      finishReasons: stopReason === undefined ? [] : [stopReason],
      usage: usageOf(record(body["usage"])),
    };
  },
  collect: collectMessages,
};

/** `input_tokens` leaves cached tokens out in this API; the convention counts them in. */
function usageOf(usage: Record<string, unknown>): LiveAnswer["usage"] {
  const cacheReadTokens = count(usage["cache_read_input_tokens"]);
  const uncached = count(usage["input_tokens"]);
  const inputTokens =
    uncached === undefined ? undefined : uncached + (cacheReadTokens ?? 0) + (count(usage["cache_creation_input_tokens"]) ?? 0);
  return present({ inputTokens, outputTokens: count(usage["output_tokens"]), cacheReadTokens });
}

function blocks(content: unknown): Part[] {
  if (typeof content === "string") return content === "" ? [] : [{ type: "text", content }];
  return records(content).map((block): Part => {
    switch (block["type"]) {
      case "text":
        return { type: "text", content: text(block["text"]) ?? "" };
      case "thinking":
        return { type: "reasoning", content: text(block["thinking"]) ?? "" };
      case "tool_use":
        return present({ type: "tool_call", id: text(block["id"]), name: text(block["name"]) ?? "", arguments: block["input"] });
      case "tool_result": {
        const result = Array.isArray(block["content"])
          ? records(block["content"])
              .map((part) => text(part["text"]) ?? "")
              .join("")
          : block["content"];
        return present({ type: "tool_call_response", id: text(block["tool_use_id"]), response: parsedOrText(result) });
      }
      default:
        return { ...block, type: text(block["type"]) ?? "unknown" };
    }
  });
}

function collectMessages(): StreamCollector {
  let message: Record<string, unknown> = {};
  const content: Record<string, unknown>[] = [];
  return {
    event(data) {
      const index = count(data["index"]) ?? 0;
      if (index < 0 || index > 1_000) return;
      if (data["type"] === "message_start") message = { ...record(data["message"]) };
      if (data["type"] === "content_block_start") content[index] = { ...record(data["content_block"]) };
      if (data["type"] === "content_block_delta") addDelta((content[index] ??= {}), record(data["delta"]));
      if (data["type"] === "message_delta") {
        message = { ...message, ...record(data["delta"]), usage: { ...record(message["usage"]), ...record(data["usage"]) } };
      }
    },
    body: () => ({ ...message, content: content.filter((block) => block !== undefined).map(withInput) }),
  };
}

function addDelta(block: Record<string, unknown>, delta: Record<string, unknown>): void {
  for (const field of ["text", "thinking", "partial_json"]) {
    const piece = text(delta[field]);
    if (piece !== undefined) block[field] = (text(block[field]) ?? "") + piece;
  }
}

/** A streamed tool call's input arrives as pieces of its JSON text. */
function withInput({ partial_json: json, ...block }: Record<string, unknown>): Record<string, unknown> {
  return json === undefined ? block : { ...block, input: parsedOrText(json) };
}
