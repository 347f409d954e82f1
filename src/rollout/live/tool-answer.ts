import type { CallToolResult } from "@modelcontextprotocol/client";
import type { ToolResult } from "../tool-session.ts";

/**
 * What an agent reads of an MCP result: its texts, a line in place of what is none, the structured content where there is nothing else. Longer than `maxBytes` it is cut off and says
 * so: an agent that asks for everything gets what a context window has room for. Pure.
 */
export function toolAnswerOf(result: CallToolResult, maxBytes: number): ToolResult {
  const { content, structuredContent, isError = false } = result;
  const text = content.map(contentText).join("\n");
  const whole = text === "" && structuredContent !== undefined ? JSON.stringify(structuredContent) : text;
  return { text: cutTo(whole.toWellFormed(), maxBytes), isError };
}

function contentText(part: CallToolResult["content"][number]): string {
  switch (part.type) {
    case "text":
      return part.text;
    case "image":
    case "audio":
      return `[${part.type}, ${part.mimeType}]`;
    case "resource":
      return "text" in part.resource && typeof part.resource.text === "string" ? part.resource.text : `[resource ${part.resource.uri}]`;
    case "resource_link":
      return `[resource ${part.uri}]`;
    default:
      return "[content of an unknown type]";
  }
}

/** At a character's border. */
function cutTo(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text);
  if (bytes.byteLength <= maxBytes) return text;
  const head = new TextDecoder().decode(bytes.subarray(0, maxBytes), { stream: true });
  return `${head}\n[The answer has ${bytes.byteLength} bytes. What follows is left out.]`;
}
