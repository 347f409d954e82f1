import type { Message, Part } from "../../trace/message.ts";
import { parsedOrText, present, record, records, text, type LiveApi } from "./live-api.ts";
import { contentParts, openaiUsage, toolDefinitions } from "./openai-chat.ts";

/** `POST /v1/responses`. A call may be stored on the server, so it is repeated only where it never reached one. */
export const OPENAI_RESPONSES: LiveApi = {
  operation: "chat",
  provider: "openai",
  idempotent: false,
  maxTokensFields: ["max_output_tokens"],
  readRequest: (body) => {
    const instructions = text(body["instructions"]);
    const system: Message[] = instructions === undefined ? [] : [{ role: "system", parts: [{ type: "text", content: instructions }] }];
    const input = typeof body["input"] === "string" ? [{ role: "user", content: body["input"] }] : records(body["input"]);
    return { input: [...system, ...input.map(itemMessage)], tools: toolDefinitions(body["tools"]) };
  },
  readAnswer: (body) => {
    const parts = records(body["output"]).flatMap((item) => itemMessage(item).parts);
    const status = text(body["status"]);
    return {
      ...present({ id: text(body["id"]), model: text(body["model"]) }),
      output: parts.length === 0 ? [] : [{ role: "assistant", parts }],
      finishReasons: status === undefined ? [] : [status === "completed" ? finishOf(parts) : status],
      usage: openaiUsage(body["usage"]),
    };
  },
  collect: () => {
    let body: Record<string, unknown> = {};
    return {
      // Every event of a response's life carries the whole response so far; the last one is the answer.
      event: (data) => {
        if (data["response"] !== undefined) body = record(data["response"]);
      },
      body: () => body,
    };
  },
};

function finishOf(parts: readonly Part[]): string {
  return parts.some((part) => part.type === "tool_call") ? "tool_calls" : "stop";
}

function itemMessage(item: Record<string, unknown>): Message {
  switch (item["type"]) {
    case "function_call":
      return {
        role: "assistant",
        parts: [
          present({
            type: "tool_call",
            id: text(item["call_id"]),
            name: text(item["name"]) ?? "",
            arguments: parsedOrText(item["arguments"]),
          }),
        ],
      };
    case "function_call_output":
      return {
        role: "tool",
        parts: [present({ type: "tool_call_response", id: text(item["call_id"]), response: parsedOrText(item["output"]) })],
      };
    case "reasoning": {
      const content = [...records(item["content"]), ...records(item["summary"])].map((part) => text(part["text"]) ?? "").join("");
      return { role: "assistant", parts: content === "" ? [] : [{ type: "reasoning", content }] };
    }
    default:
      return { role: text(item["role"]) ?? "assistant", parts: contentParts(item["content"]) };
  }
}
