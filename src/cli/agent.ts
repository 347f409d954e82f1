import { nightshiftError } from "../errors.ts";
import type { ApiClient } from "./client.ts";
import type { AgentView } from "../api/views.ts";

/**
 * The agent that a command is about: the one named, or the only one that there is.
 * @param otherwise what is meant where none is configured, for a command that makes sense then
 * @throws NightshiftError `usage_invalid`
 */
export async function chooseAgent(client: ApiClient, named: string | undefined, otherwise?: string): Promise<string> {
  if (named !== undefined) return named;
  const { agents } = await client.get<{ agents: AgentView[] }>("/v1/status");
  const [only] = agents;
  if (only !== undefined && agents.length === 1) return only.agent;
  if (agents.length === 0 && otherwise !== undefined) return otherwise;
  const problem =
    agents.length === 0 ? "no agent is configured" : `say which agent with --agent: ${agents.map(({ agent }) => agent).join(", ")}`;
  throw nightshiftError("usage_invalid", { problem });
}
