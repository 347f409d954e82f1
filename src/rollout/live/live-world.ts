import type { BootstrapConfig } from "../../config-bootstrap.ts";
import { nightshiftError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { toolsOf, type TaskTool } from "../../scenario/bootstrap/tool-list.ts";
import type { Isolation } from "../group.ts";
import type { MemberPlan } from "../plan.ts";
import type { ToolSession } from "../tool-session.ts";
import type { CallBudget } from "./call-budget.ts";
import { createLiveSession } from "./live-session.ts";
import { connectMcp, placeName, type McpConnection, type McpPlace } from "./mcp-connection.ts";
import { resetSandbox } from "./reset.ts";

/** A sandboxed MCP server that rollouts may call as they like. */
export interface LiveWorld {
  isolation: Isolation;
  /** Rollouts that may be in it at once. */
  concurrency: number;
  /**
   * The tools that the agent is to have, in the server's order.
   * @throws NightshiftError `bootstrap_server_unavailable`, `bootstrap_tools_unusable`
   */
  tools(options?: { signal?: AbortSignal }): Promise<readonly TaskTool[]>;
  /** Where one rollout's calls go. Nothing is connected before its first call. */
  open(member: MemberPlan, budget: CallBudget): ToolSession;
}

export interface LiveWorldDeps {
  token: string | null;
  env: Readonly<Record<string, string | undefined>>;
  log: Logger;
  now: () => number;
  monotonicMs: () => number;
}

export function createLiveWorld(config: BootstrapConfig, deps: LiveWorldDeps): LiveWorld {
  const { server, reset } = config;
  const place: McpPlace = { server, token: deps.token, env: deps.env, timeoutMs: config.timeoutMs };
  const isolation = config.worldPerConnection ? "connection" : reset === undefined ? "none" : "reset";

  const open = async (signal?: AbortSignal): Promise<McpConnection> => {
    const options = signal === undefined ? {} : { signal };
    const connection = await connectMcp(place, options);
    if (reset === undefined) return connection;
    try {
      const problem = await resetSandbox(reset, { connection, env: deps.env, signal });
      if (problem === null) return connection;
      throw nightshiftError("bootstrap_server_unavailable", { server: placeName(server), problem: `it was not set back: ${problem}` });
    } catch (error) {
      await connection.close();
      throw error;
    }
  };
  return {
    isolation,
    concurrency: isolation === "connection" ? config.concurrency : 1,
    async tools(options = {}) {
      const connection = await connectMcp(place, options);
      try {
        const listed = toolsOf(await connection.listTools(), { wanted: config.tools, without: reset?.tool });
        if (listed.ok) return listed.tools;
        throw nightshiftError("bootstrap_tools_unusable", { server: placeName(server), problem: listed.problem });
      } finally {
        await connection.close();
      }
    },
    open: (member, budget) => createLiveSession(member, { config, isolation, open, budget, ...deps }),
  };
}
