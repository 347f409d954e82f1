import { join, resolve } from "node:path";
import type { AgentConfig, Config } from "../config.ts";
import { discoveryOf, listedServers, serviceUrlOf } from "../config-policy-servers.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { createDisturbanceOutbox } from "../serving/disturbance.ts";
import { createControlClient, type ControlClient } from "../serving/control-client.ts";
import { createGateway, startOrClose, type GatewayAgent } from "../serving/gateway.ts";
import { createPolledReplicas } from "../serving/replica-poll.ts";
import { pollRoutes } from "../serving/route-poll.ts";
import { createRouteTable } from "../serving/route-table.ts";
import { makeDataDirectory } from "../store/data-directory.ts";
import { baseModelDigest } from "./base-model.ts";
import { captureTo } from "./capture-thread.ts";
import { collectorTokens } from "./collector-tokens.ts";
import { requirePolicyServers } from "./shared-parts.ts";

/** The gateway alone, as it runs beside an agent or as a Deployment. */
export interface GatewayProcess {
  port: number;
  close(): Promise<void>;
}

/**
 * Starts the gateway as its own process: routes by long poll from `gateway.controlUrl`, kept on disk, so that it serves the last-known stable while the control
 * service is dead, also after a restart of its own. Needs no database.
 * @throws NightshiftError `config_invalid` for what only matters here, `port_taken`
 */
export async function startGatewayProcess(
  config: Config,
  deps: {
    log: Logger;
    /** Of the control service. */
    token?: string | undefined;
  },
): Promise<GatewayProcess> {
  const { log } = deps;
  const { controlUrl, collectorUrl, leaseMs } = config.gateway;
  if (controlUrl === undefined) throw missing("gateway.controlUrl", "the gateway as its own process needs the control service's address");
  requirePolicyServers(config, "the gateway");
  const directory = join(resolve(config.dataDir), "gateway-process");
  makeDataDirectory(directory);
  const waitMs = Math.floor(leaseMs / 3);
  const control = createControlClient({ controlUrl, token: deps.token });
  const agents = await Promise.all(
    Object.entries(config.agents).map(([agent, one]) => gatewayAgent(agent, one, { directory, waitMs }, { control, log })),
  );
  const monotonicMs = (): number => performance.now();
  const disturbances = createDisturbanceOutbox({ monotonicMs });
  const table = await createRouteTable(
    { leaseMs, file: join(directory, "routes.json") },
    { monotonicMs, log, onLapse: (agent) => disturbances.note(agent, "lease_lapse") },
  );
  // It has forgotten which arm it gave to whom.
  for (const { agent } of agents) disturbances.note(agent, "gateway_restart");
  if (collectorUrl === undefined) log.warn({}, "gateway captures nothing: no collector url");
  const gateway = createGateway(
    { gateway: config.gateway, agents },
    {
      routes: table,
      log,
      capture: collectorUrl === undefined ? null : captureTo({ collectorUrl, tokens: collectorTokens(config) }, { agents, log }),
      monotonicMs,
    },
  );
  const { port } = await startOrClose(gateway);
  const stopping = new AbortController();
  const poll = { controlUrl, agents: agents.map(({ agent }) => agent), token: deps.token, waitMs };
  const polling = [
    pollRoutes(poll, { table, disturbances, log, monotonicMs }, { signal: stopping.signal }),
    ...agents.flatMap(({ replicas }) => (replicas === undefined ? [] : [replicas.poll(stopping.signal)])),
  ];
  return {
    port,
    async close() {
      stopping.abort();
      await Promise.all(polling);
      await gateway.close();
      await table.flush();
    },
  };
}

type PolledAgent = Omit<GatewayAgent, "replicas"> & { replicas?: Awaited<ReturnType<typeof createPolledReplicas>> };

async function gatewayAgent(
  agent: string,
  config: AgentConfig,
  { directory, waitMs }: { directory: string; waitMs: number },
  deps: { control: ControlClient; log: Logger },
): Promise<PolledAgent> {
  const digest = await baseModelDigest(agent, config, join(directory, `base-digest-${agent}.json`));
  const discovery = discoveryOf(config);
  const served = {
    agent,
    model: config.model,
    base: { name: config.model, digest },
    serviceName: config.match.serviceName ?? agent,
    agentName: config.match.agentName,
  };
  if (discovery === null) return { ...served, upstreams: listedServers(config).map(({ url, readinessUrl }) => ({ url, readinessUrl })) };
  const url = serviceUrlOf(discovery);
  return {
    ...served,
    // The Service itself, for when nobody ever told of its pods, or none of those that are known of is left.
    upstreams: url === null ? [] : [{ url, isReady: false }],
    replicas: await createPolledReplicas({ agent, file: join(directory, `replicas-${agent}.json`), waitMs }, deps),
  };
}

function missing(path: string, problem: string): Error {
  return nightshiftError("config_invalid", { path, received: "nothing", problem });
}
