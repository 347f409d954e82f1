import { callPart } from "../canonical.ts";
import { isRecord } from "../json.ts";
import type { Message, Part } from "../message.ts";

/** The output items of OpenAI's Responses API as one assistant's message; empty when there is nothing in them. A call is known by its `call_id`, not by its item's id. */
export function messageOfItems(items: unknown): Message[] {
  if (!Array.isArray(items)) return [];
  const parts = items.filter(isRecord).flatMap((item): Part[] => {
    if (item["type"] === "function_call") return [callPart(item["call_id"], item["name"], item["arguments"])];
    return item["type"] === "message" ? textParts(item["content"]) : [];
  });
  return parts.length === 0 ? [] : [{ role: "assistant", parts }];
}

function textParts(content: unknown): Part[] {
  if (!Array.isArray(content)) return [];
  return content.filter(isRecord).flatMap((piece): Part[] => {
    const text = piece["type"] === "output_text" ? piece["text"] : undefined;
    return typeof text === "string" && text !== "" ? [{ type: "text", content: text }] : [];
  });
}
