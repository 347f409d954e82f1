import { canonicalTools } from "../canonical.ts";
import { isRecord, jsonOf } from "../json.ts";
import type { ToolDefinition } from "../message.ts";
import type { Attributes } from "../span.ts";
import type { Dialect } from "./dialect.ts";

/**
 * Pydantic AI writes the GenAI conventions. But what a tool says that wants to be called again, or whose arguments were refused, goes to
 * OpenAI's API inside `{"error": …}` and into telemetry without; other APIs and versions word it otherwise, so it is named and not mended.
 * MCP's annotations of tools are in its own `model_request_parameters` alone.
 */
export const pydanticAi: Dialect = {
  name: "pydantic-ai",
  read(span) {
    if (span.scope.name !== "pydantic-ai") return null;
    const isReworded = span.attributes["pydantic_ai.tool.retry.cause"] !== undefined;
    const tools = annotatedTools(span.attributes);
    if (!isReworded && tools === null) return null;
    return { ...(isReworded ? { damage: ["tool_result_reworded"] } : {}), ...(tools === null ? {} : { tools }) };
  },
};

/** The definitions with their annotations; null where no tool has any. */
function annotatedTools(attributes: Attributes): ToolDefinition[] | null {
  const parameters = attributes["model_request_parameters"];
  if (typeof parameters !== "string" || !parameters.includes("readOnlyHint")) return null;
  const { value } = jsonOf(parameters);
  const own = canonicalTools(isRecord(value) ? (value["function_tools"] ?? []) : []);
  const annotations = new Map(own.flatMap((tool) => (tool.annotations === undefined ? [] : [[tool.name, tool.annotations] as const])));
  if (annotations.size === 0) return null;
  const told = attributes["gen_ai.tool.definitions"] === undefined ? null : jsonOf(attributes["gen_ai.tool.definitions"]);
  if (told?.broken === true) return null;
  return (told === null ? own : canonicalTools(told.value)).map((tool) => {
    const known = annotations.get(tool.name);
    return known === undefined ? tool : { ...tool, annotations: known };
  });
}
