import type { AddressInfo } from "node:net";
import { serve, type ServerType } from "@hono/node-server";
import { createMcpHandler } from "@modelcontextprotocol/server";
import { createSandboxShop, serverOf, type SandboxShop } from "./sandbox-shop.ts";

export interface SandboxServer {
  url: string;
  shop: SandboxShop;
  /** `authorization` of every request. */
  credentials: (string | null)[];
  /** What every request is answered with instead, where it is a response. */
  refuse: () => Response | null;
  /** Gone, in the middle of whatever it does. */
  close(): Promise<void>;
}

/** A sandboxed MCP server over streamable HTTP, on loopback. */
export async function startSandboxServer(): Promise<SandboxServer> {
  const shop = createSandboxShop();
  const handler = createMcpHandler(() => serverOf(shop), { keepAliveMs: 0 });
  const sandbox: SandboxServer = {
    url: "",
    shop,
    credentials: [],
    refuse: () => null,
    close: () =>
      new Promise((resolve) => {
        listening.close(() => resolve());
        if ("closeAllConnections" in listening) listening.closeAllConnections();
      }),
  };
  const answer = (request: Request): Response | Promise<Response> => {
    sandbox.credentials.push(request.headers.get("authorization"));
    return sandbox.refuse() ?? handler.fetch(request);
  };
  let listening: ServerType;
  await new Promise<void>((resolve) => {
    listening = serve({ fetch: answer, hostname: "127.0.0.1", port: 0 }, () => resolve());
  });
  sandbox.url = `http://127.0.0.1:${(listening!.address() as AddressInfo).port}/mcp`;
  return sandbox;
}
