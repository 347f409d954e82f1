import type { AgentConfig, Config } from "../config.ts";
import { discoveryOf, listedServers, type Discovery } from "../config-policy-servers.ts";
import { nightshiftError } from "../errors.ts";
import { replicaName } from "./replica-adapters.ts";

/** An agent that one policy server serves. */
export interface ServedAgent {
  agent: string;
  config: AgentConfig;
}

/**
 * Where an adapter agent finds its policy server, and whose adapters it looks after there. Whoever shares the server shares the adapter agent: two would unload each
 * other's adapters.
 * @param replica A name in `agents.*.policyServers`, or of a pod behind a Service that agents discover their replicas by.
 * @throws NightshiftError `config_invalid`
 */
export function serversOf(
  config: Pick<Config, "agents">,
  replica: string,
  { service, serverUrl }: { service?: string | undefined; serverUrl?: string | undefined },
): { url: string; agents: readonly ServedAgent[]; isDiscovered: boolean } {
  const all = Object.entries(config.agents).flatMap(([agent, one]) =>
    listedServers(one).map((server, index) => ({ agent, config: one, url: server.url, name: replicaName(agent, server, index) })),
  );
  const named = service === undefined ? all.find(({ name }) => name === replica) : undefined;
  if (named !== undefined) {
    const sharing = all.filter(({ url }) => url === named.url);
    return { url: serverUrl ?? named.url, agents: sharing.map(({ agent, config: one }) => ({ agent, config: one })), isDiscovered: false };
  }
  const discovered = Object.entries(config.agents).flatMap(([agent, one]) => {
    const discovery = discoveryOf(one);
    return discovery === null ? [] : [{ agent, config: one, discovery }];
  });
  const services = [...new Set(discovered.map(({ discovery }) => discovery.service))];
  const own = service ?? (services.length === 1 ? services[0] : undefined);
  const served = discovered.filter(({ discovery }) => discovery.service === own);
  const [first] = served;
  if (first === undefined) throw unknown(replica, service, { names: all.map(({ name }) => name), services });
  return {
    url: serverUrl ?? localUrl(first.agent, first.discovery),
    agents: served.map(({ agent, config: one }) => ({ agent, config: one })),
    isDiscovered: true,
  };
}

/** In the pod of the server itself. */
function localUrl(agent: string, { port }: Discovery): string {
  if (typeof port === "number") return `http://localhost:${port}`;
  throw nightshiftError("config_invalid", {
    path: `agents.${agent}.policyServers.discover.port`,
    received: JSON.stringify(port),
    problem: "beside the server its port has no name; give the adapter agent --server-url",
  });
}

function unknown(replica: string, service: string | undefined, known: { names: readonly string[]; services: readonly string[] }): Error {
  const named = `there are: ${known.names.join(", ") || "none"}`;
  const problem =
    service !== undefined
      ? `no agent discovers its replicas by this service; there are: ${known.services.join(", ") || "none"}`
      : known.services.length > 1
        ? `agents discover theirs by several services, name one with --service: ${known.services.join(", ")}`
        : `no policy server has this name; ${named}`;
  return nightshiftError("config_invalid", { path: "agents.*.policyServers", received: JSON.stringify(service ?? replica), problem });
}
