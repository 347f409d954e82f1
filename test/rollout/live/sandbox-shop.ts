import { Server, type CallToolResult } from "@modelcontextprotocol/server";

/** A small shop with state of its own, and how it misbehaves. */
export interface SandboxShop {
  orders: Map<string, { item: string; refunded: boolean }>;
  /** Tool and arguments of every call, in order. */
  calls: { tool: string; args: Record<string, unknown> }[];
  /** Replaces what a tool does. */
  override: (tool: string, args: Record<string, unknown>) => CallToolResult | Promise<CallToolResult> | null;
  tools: { name: string; description?: string; inputSchema: { type: "object"; [key: string]: unknown } }[];
  reset(): void;
}

const ORDER = { type: "object" as const, properties: { order_id: { type: "string" } }, required: ["order_id"] };

export function createSandboxShop(): SandboxShop {
  const shop: SandboxShop = {
    orders: new Map(),
    calls: [],
    override: () => null,
    tools: [
      { name: "lookup_order", description: "Finds an order by its id.", inputSchema: ORDER },
      { name: "issue_refund", description: "Refunds an order.", inputSchema: ORDER },
      { name: "reset_shop", description: "Sets the shop back.", inputSchema: { type: "object" } },
    ],
    reset: () => {
      shop.orders = new Map([
        ["A1", { item: "lamp", refunded: false }],
        ["A2", { item: "desk", refunded: false }],
      ]);
    },
  };
  shop.reset();
  return shop;
}

/** The shop behind MCP; one for each session, all of the same shop. */
export function serverOf(shop: SandboxShop): Server {
  const server = new Server({ name: "sandbox-shop", version: "1" }, { capabilities: { tools: {} } });
  server.setRequestHandler("tools/list", () => ({ tools: shop.tools }));
  server.setRequestHandler("tools/call", async ({ params }) => {
    const args = params.arguments ?? {};
    shop.calls.push({ tool: params.name, args });
    return (await shop.override(params.name, args)) ?? answer(shop, params.name, args);
  });
  return server;
}

export const said = (text: string, isError = false): CallToolResult => ({
  content: [{ type: "text", text }],
  ...(isError ? { isError } : {}),
});

function answer(shop: SandboxShop, tool: string, args: Record<string, unknown>): CallToolResult {
  if (tool === "reset_shop") {
    shop.reset();
    return said("ok");
  }
  const order = shop.orders.get(String(args["order_id"]));
  if (order === undefined) return said("no such order", true);
  if (tool === "lookup_order") return said(JSON.stringify(order));
  if (order.refunded) return said("already refunded", true);
  order.refunded = true;
  return said(JSON.stringify({ refunded: args["order_id"] }));
}
