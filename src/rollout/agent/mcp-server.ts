import { createMcpHandler, ProtocolError, Server, type McpHttpHandler } from "@modelcontextprotocol/server";
import type { ToolShape } from "../../trajectory/record-tape.ts";
import type { AgentSession } from "./agent-session.ts";
import { mcpContentOf } from "./mcp-content.ts";

/** JSON-RPC's code for a failure of the server's own. */
const ENDED = -32_000;

/** An MCP server whose tools are the scenario's, as they were recorded, and whose answers are the rollout's. It reaches nothing else. */
export function replayServer(tools: readonly ToolShape[], session: Pick<AgentSession, "callTool">): Server {
  const server = new Server({ name: "replayed-tools", version: "1" }, { capabilities: { tools: {} } });
  server.setRequestHandler("tools/list", () => ({
    tools: tools.map(({ name, description, parameters }) => ({
      name,
      ...(description === undefined ? {} : { description }),
      inputSchema: { ...parameters, type: "object" as const },
    })),
  }));
  // A tool that the scenario does not have is answered like any other: as the recorded world would, which is with an error.
  server.setRequestHandler("tools/call", async ({ params }) => {
    const result = await session.callTool(params.name, params.arguments ?? {});
    if (result === null) throw new ProtocolError(ENDED, "The rollout has ended.");
    return mcpContentOf(result);
  });
  return server;
}

/** That server over streamable HTTP: to clients that shake hands (2025 revisions) and to those that do not (2026), each request by itself. */
export function replayHandler(tools: readonly ToolShape[], session: Pick<AgentSession, "callTool">): McpHttpHandler {
  return createMcpHandler(() => replayServer(tools, session), { keepAliveMs: 0 });
}
