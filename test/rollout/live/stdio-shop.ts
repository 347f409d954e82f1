import { StdioServerTransport } from "@modelcontextprotocol/server/stdio";
import { createSandboxShop, said, serverOf } from "./sandbox-shop.ts";

/** The shop as a program: a world for every process. Says what environment it has, and dies when asked to. */
const shop = createSandboxShop();
shop.tools.push({ name: "show_environment", inputSchema: { type: "object" } }, { name: "die", inputSchema: { type: "object" } });
shop.override = (tool) => {
  if (tool === "die") process.exit(1);
  return tool === "show_environment" ? said(JSON.stringify(Object.keys(process.env).toSorted())) : null;
};
await serverOf(shop).connect(new StdioServerTransport());
