import { checkPolicyServers } from "../../../src/cli/doctor/policy-servers.ts";
import { parseConfig } from "../../../src/config.ts";

/** What doctor says of a policy server, a line each. */
export async function told(url: string, model: string): Promise<string[]> {
  const agent = { model: "base", baseModel: model, policyServers: [{ url }] };
  const findings = await checkPolicyServers(parseConfig({ agents: { shop: agent } }));
  return findings.map(({ status, check, message }) => `${status} ${check.replace(url, "URL")}: ${message}`);
}
