import type { Row } from "./row.ts";

export const BOOTSTRAP = {
  bootstrap_not_configured: {
    message: (a: { agent: string }) => `agents.${a.agent}.bootstrap is not configured`,
    fix: "Name the sandboxed MCP server under agents.<name>.bootstrap.server; docs/config.md lists its keys.",
    retryable: false,
  },
  bootstrap_not_sandboxed: {
    message: (a: { agent: string }) => `agents.${a.agent}.bootstrap.server is not declared to be a sandbox: nothing is run against it`,
    fix: "Rollouts call every tool, writes too. Point bootstrap.server at a sandbox and say so with bootstrap.sandboxed: true.",
    retryable: false,
  },
  bootstrap_no_writer: {
    message: (a: { agent: string }) => `agent ${a.agent} has no LLM that could make up tasks`,
    fix: "Configure agents.<name>.replay.simulator, or agents.<name>.judge with driver ruler; the first of them is asked.",
    retryable: false,
  },
  bootstrap_server_unavailable: {
    message: (a: { server: string; problem: string }) => `MCP server ${a.server} did not answer: ${a.problem}`,
    fix: "Check that the server runs, that bootstrap.server names it and that its token is right; then start the run again.",
    retryable: true,
  },
  bootstrap_tools_unusable: {
    message: (a: { server: string; problem: string }) => `the tools of MCP server ${a.server} cannot be used: ${a.problem}`,
    fix: "Correct the server, or name the tools that the agent is to have under bootstrap.tools.",
    retryable: false,
  },
  bootstrap_tasks_unusable: {
    message: (a: { agent: string; accepted: number; wanted: number; problem: string }) =>
      `only ${a.accepted} of ${a.wanted} tasks could be made up for agent ${a.agent}: ${a.problem}`,
    fix: "Use an LLM that follows a JSON schema, tell it more under bootstrap.instructions, or ask for fewer tasks; --dry-run shows what it makes up.",
    retryable: false,
  },
} as const satisfies Record<string, Row>;
