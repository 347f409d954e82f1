import type { AgentConfig } from "../config.ts";

export const UNKNOWN_AGENT = "unknown";

/** Agents by slug, as in the config. */
export type Agents = Readonly<Record<string, AgentConfig>>;

export interface AgentTraits {
  serviceName: string | null;
  agentName: string | null;
}

/**
 * The agent whose match rule fits: both names before one, one before an empty rule, which takes everything of its tenant; among equals the first slug in
 * alphabetical order. `unknown` when none fits.
 */
export function matchAgent(agents: Agents, tenant: string, traits: AgentTraits): string {
  let best: { slug: string; score: number } | null = null;
  for (const slug of Object.keys(agents).toSorted()) {
    const agent = agents[slug];
    if (agent === undefined || agent.tenant !== tenant) continue;
    const { serviceName, agentName } = agent.match;
    if (serviceName !== undefined && serviceName !== traits.serviceName) continue;
    if (agentName !== undefined && agentName !== traits.agentName) continue;
    const score = Number(serviceName !== undefined) + Number(agentName !== undefined);
    if (best === null || score > best.score) best = { slug, score };
  }
  return best?.slug ?? UNKNOWN_AGENT;
}
