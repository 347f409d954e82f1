import { askReadiness, type ToldReadiness } from "../../serving/gateway/readiness.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

const ASK_TIMEOUT_MS = 5_000;

/** What the adapter agent of a policy server says of it, where gateways ask it too. */
export async function checkReadiness(check: string, url: string): Promise<Finding> {
  let told: ToldReadiness;
  try {
    told = await askReadiness(url, ASK_TIMEOUT_MS);
  } catch (error) {
    const problem = `its adapter agent gives no answer at readinessUrl ${url} (${error instanceof Error ? error.message : String(error)})`;
    return warn(
      check,
      `${problem}: gateways send it calls whatever it has`,
      "Start nightshift adapter-agent, or correct readinessUrl (of discovered replicas: policyServers.discover.agentPort).",
    );
  }
  const { isReady, reason, base } = told;
  if (base === "another")
    return bad(
      check,
      "answers with another base than the adapters were trained on",
      "Start that server with the model of agents.*.baseModel.",
    );
  if (!isReady) return warn(check, `not ready: ${reason ?? "no reason given"}`, "Wait for the adapter agent, or read its log.");
  return ok(check, base === "proven" ? "ready, its base proven" : `ready, its base ${base}`);
}
