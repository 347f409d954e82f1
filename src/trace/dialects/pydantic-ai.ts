import type { Dialect } from "./dialect.ts";

/**
 * Pydantic AI writes the GenAI conventions. But what a tool says that wants to be called again, or whose arguments were refused, goes to
 * OpenAI's API inside `{"error": …}` and into telemetry without; other APIs and versions word it otherwise, so it is named and not mended.
 */
export const pydanticAi: Dialect = {
  name: "pydantic-ai",
  read(span) {
    return span.scope.name === "pydantic-ai" && span.attributes["pydantic_ai.tool.retry.cause"] !== undefined
      ? { damage: ["tool_result_reworded"] }
      : null;
  },
};
