import type { CallToolResult } from "@modelcontextprotocol/server";
import { parseResult } from "../../trajectory/record-tape.ts";
import type { ToolResult } from "../tool-session.ts";

/**
 * A tool's answer as an MCP result. Frameworks write MCP results into the next request as JSON, each in its own form: an item, a list of items, the result itself.
 * What was recorded so is unwrapped, or the framework would wrap it a second time. Pure.
 */
export function mcpContentOf({ text, isError }: ToolResult): CallToolResult {
  const parsed = parseResult(text);
  const result = isObject(parsed) && Array.isArray(parsed["content"]) ? parsed["content"] : parsed;
  const items = Array.isArray(result) ? result : [result];
  const texts = items.flatMap((item) =>
    isObject(item) && item["type"] === "text" && typeof item["text"] === "string" ? [item["text"]] : [],
  );
  const content = items.length > 0 && texts.length === items.length ? texts : [text];
  return { content: content.map((one) => ({ type: "text", text: one })), ...(isError ? { isError } : {}) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
