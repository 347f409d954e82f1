import { canonicalMessages, canonicalTools } from "../canonical.ts";
import { isRecord } from "../json.ts";
import type { Message, ToolDefinition } from "../message.ts";

/** Messages in the form of Gemini's API, `{role, parts: [{text} | {function_call} | …]}` or a bare text, as canonical ones. */
export function geminiMessages(value: unknown, role = "user"): Message[] {
  const list = Array.isArray(value) ? value : [value];
  return canonicalMessages(
    list.flatMap((content): Record<string, unknown>[] => {
      if (typeof content === "string") return content === "" ? [] : [{ role, content }];
      if (!isRecord(content)) return [];
      const parts = Array.isArray(content["parts"]) ? content["parts"].filter(isRecord).map(partOf) : [partOf(content)];
      return [{ role: content["role"] === "model" ? "assistant" : role, parts }];
    }),
  );
}

/** The declarations of all function tools, in order. */
export function geminiTools(tools: unknown): ToolDefinition[] {
  const declarations = (Array.isArray(tools) ? tools : []).flatMap((tool): unknown[] => {
    const list = isRecord(tool) ? (tool["function_declarations"] ?? tool["functionDeclarations"]) : undefined;
    return Array.isArray(list) ? list : [];
  });
  return canonicalTools(declarations).map((tool) => ({
    ...tool,
    ...(tool.parameters === undefined ? {} : { parameters: withLowerTypes(tool.parameters) as Record<string, unknown> }),
  }));
}

function partOf(part: Record<string, unknown>): Record<string, unknown> {
  const call = part["function_call"] ?? part["functionCall"];
  if (isRecord(call)) return { type: "tool_call", id: call["id"], name: call["name"], arguments: call["args"] };
  const answer = part["function_response"] ?? part["functionResponse"];
  if (isRecord(answer)) return { type: "tool_call_response", id: answer["id"], response: answer["response"] };
  if (typeof part["text"] === "string") return { type: part["thought"] === true ? "reasoning" : "text", content: part["text"] };
  // Written out whole, a part names every kind that it is not.
  const [kind = "unknown", value] = Object.entries(part).find(([, value]) => value !== null) ?? [];
  return { [kind]: value, type: kind };
}

/** Gemini's own schemas write types in capitals; JSON Schema, and what goes to any other model, does not. */
function withLowerTypes(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withLowerTypes);
  if (!isRecord(schema)) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      key === "type" && typeof value === "string" ? value.toLowerCase() : withLowerTypes(value),
    ]),
  );
}
