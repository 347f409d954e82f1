import type { Config } from "../config.ts";
import { configInvalid } from "./shared-parts.ts";
import { readTokenFile } from "./token-file.ts";

/**
 * The collector token of every agent's tenant: what a gateway captures of a call belongs to that tenant alone, and a collector knows it by the token.
 * @throws NightshiftError `config_invalid` where the agents are of several tenants and one has no token of its own
 */
export function collectorTokens({
  agents,
  tenants,
  gateway,
}: Pick<Config, "agents" | "tenants" | "gateway">): Map<string, string | undefined> {
  const served = new Set(Object.values(agents).map(({ tenant }) => tenant));
  const tokenOf = (tenant: string): string | undefined => {
    const file = tenants[tenant]?.collectorTokenFile;
    if (file !== undefined) return readTokenFile(`tenants.${tenant}.collectorTokenFile`, file);
    if (served.size === 1) return readTokenFile("gateway.collectorTokenFile", gateway.collectorTokenFile);
    const problem = `the gateway serves agents of ${[...served].join(", ")}: what it captures of ${tenant}'s calls needs ${tenant}'s own token`;
    throw configInvalid(`tenants.${tenant}.collectorTokenFile`, undefined, problem);
  };
  const tokens = new Map([...served].map((tenant) => [tenant, tokenOf(tenant)]));
  return new Map(Object.entries(agents).map(([agent, { tenant }]) => [agent, tokens.get(tenant)]));
}
