import type { AgentConfig } from "../../src/config.ts";
import { agentSchema } from "../../src/config-agent.ts";

const standard = agentSchema.parse({ model: "m", baseModel: "b" }).scenario;

/** Nothing left out: no quarantine, caps that nobody reaches, and no wall but the users'. */
export const openScenarios: AgentConfig["scenario"] = {
  ...standard,
  ...{ heldOutClusterShare: 0, evaluationWindow: { ...standard.evaluationWindow, minConversations: 0 } },
  ...{ quarantineMs: 0, maxPerCluster: 1_000, minUsersPerCluster: 1, maxShareOfRunPerUser: 1 },
};
