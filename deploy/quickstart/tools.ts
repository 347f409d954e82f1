/** The agent's prompt and tools, and what an operator would write about the tools in Nightshift's configuration. */

export const systemPrompt =
  "You are the support agent of a shop. Always look up the order before you answer. " +
  "For a refund, also check the policy: refund only if the age is within the refund days. Say what you did.";

export type ToolName = "lookup_order" | "refund_policy" | "issue_refund";

export interface ToolDefinition {
  type: "function";
  function: {
    name: ToolName;
    description: string;
    parameters: { type: "object"; properties: Record<string, { type: "string" }>; required: string[]; additionalProperties: false };
  };
}

export const tools: readonly ToolDefinition[] = [
  defineTool("lookup_order", "order_id", "item, status and age of an order"),
  defineTool("refund_policy", "item", "refund days of an item"),
  defineTool("issue_refund", "order_id", "pays the order back"),
];

/**
 * The operator's knowledge about the tools, as data for replay: what reads, what writes, which argument names the entity,
 * and how an error result looks. `{…}` is filled from the call's arguments.
 */
export const toolProfiles = {
  lookup_order: { class: "read", argumentRoles: { order_id: "key" }, entityPaths: ["order:{order_id}"], errorPath: "error" },
  refund_policy: { class: "constant", argumentRoles: { item: "key" }, entityPaths: [], errorPath: "error" },
  issue_refund: { class: "write", argumentRoles: { order_id: "key" }, entityPaths: ["order:{order_id}"], errorPath: "error" },
} as const;

function defineTool(name: ToolName, argument: string, description: string): ToolDefinition {
  return {
    type: "function",
    function: {
      name,
      description,
      parameters: { type: "object", properties: { [argument]: { type: "string" } }, required: [argument], additionalProperties: false },
    },
  };
}
