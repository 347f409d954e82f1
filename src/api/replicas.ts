import { agentOfAdapter } from "../artifact/adapter.ts";
import { PROVING } from "../serving/adapter-bring-up.ts";
import type { AgentControl } from "./control.ts";
import type { Scope } from "./scope.ts";

/**
 * Replicas of an agent and what each serves. Several agents may share a policy server: to a tenant's token it shows the public name and the adapters of that tenant's
 * agents, and nothing of who else is there.
 */
export async function replicasOf(control: AgentControl, { agents, tenant }: Scope): ReturnType<AgentControl["replicas"]> {
  const replicas = await control.replicas();
  if (tenant === null) return replicas;
  const publicNames = new Set([...agents.values()].map(({ config }) => config.model));
  const isOwn = (model: string): boolean => publicNames.has(model) || agents.has(agentOfAdapter(model.replace(PROVING, "")) ?? "");
  return replicas.map((replica) => ({ ...replica, models: replica.models?.filter(isOwn) ?? null }));
}
