import { isRecord } from "./json.ts";

/** A tool call or its answer, out of a content block. */
export type Block =
  | { kind: "text"; text: string }
  | { kind: "call"; id: unknown; name: unknown; arguments: unknown }
  | { kind: "answer"; id: unknown; response: unknown };

/**
 * Reads the content blocks of Bedrock's Converse API, which Strands uses for every provider (`{text}`, `{toolUse: {toolUseId, name, input}}`, `{toolResult: {toolUseId,
 * content}}`, also with the fields beside a `type`), and of Anthropic's API (`tool_use`, `tool_result`). Null for a part of another form.
 */
export function readBlock(raw: Record<string, unknown>): Block | null {
  const type = raw["type"];
  const use = isRecord(raw["toolUse"]) ? raw["toolUse"] : type === "toolUse" || type === "tool_use" ? raw : null;
  if (use !== null) return { kind: "call", id: use["toolUseId"] ?? use["id"], name: use["name"], arguments: use["input"] };
  const result = isRecord(raw["toolResult"]) ? raw["toolResult"] : type === "toolResult" || type === "tool_result" ? raw : null;
  if (result !== null) return { kind: "answer", id: result["toolUseId"] ?? result["tool_use_id"], response: answerOf(result["content"]) };
  return type === undefined && typeof raw["text"] === "string" ? { kind: "text", text: raw["text"] } : null;
}

/** A tool's answer out of its blocks, each with nothing but `text` or `json`; several become one text, as the model reads them. Others stay as they came. */
export function answerOf(content: unknown): unknown {
  if (!Array.isArray(content) || content.length === 0) return content;
  const pieces = content.map((block: unknown) => pieceOf(block));
  if (pieces.includes(undefined)) return content;
  return pieces.length === 1 ? pieces[0] : pieces.map((piece) => (typeof piece === "string" ? piece : JSON.stringify(piece))).join("");
}

function pieceOf(block: unknown): unknown {
  if (!isRecord(block) || Object.keys(block).length !== 1) return undefined;
  return typeof block["text"] === "string" ? block["text"] : block["json"];
}
