import { resolve } from "node:path";
import { openCluster } from "../cluster.ts";
import type { AgentConfig, Config } from "../config.ts";
import { discoveryOf, listedServers, type Discovery } from "../config-policy-servers.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { startEmbeddedServer } from "../serving/embedded.ts";
import { createEndpointReplicas, findReplicas } from "../serving/endpoint-slices.ts";
import type { ReplicaAddress, ReplicaSource } from "../serving/replica-source.ts";
import { createVllm } from "../serving/vllm.ts";
import { replicaName, type Replica } from "./replica-adapters.ts";
import type { Started } from "./started.ts";

/** The replicas of one agent, as the control service has them. */
export interface AgentReplicas {
  /** As of now. @throws NightshiftError `fleet_unknown` before any were found */
  current(): readonly Replica[];
  /** Where they are found; null where they are as the config names them for as long as this process lives. */
  source: ReplicaSource | null;
}

type Connected = ReturnType<typeof createVllm>;

const ROLLOUT_CONNECTIONS = 256;
const MODEL_CALL_TIMEOUT_MS = 120_000;

/**
 * Connects to the policy servers that the config names, starts embedded ones where it names none, or begins to look for them.
 * @throws NightshiftError `policy_server_unavailable`, `port_taken`, `cluster_unknown`
 */
export async function openReplicas(
  agent: string,
  agentConfig: AgentConfig,
  config: Config,
  deps: { log: Logger; started: Started; trainerDirectory: string },
): Promise<AgentReplicas> {
  const discovery = discoveryOf(agentConfig);
  if (discovery !== null) return discovered(agent, discovery, deps);
  const servers = listedServers(agentConfig);
  const replicas =
    servers.length > 0
      ? servers.map((server, index) => listed(agent, server, index, deps))
      : await embedded(agent, agentConfig, config, deps);
  return { current: () => replicas, source: null };
}

/**
 * Those that are behind an agent's Service now, as the account of this process sees them.
 * @throws NightshiftError `cluster_unknown`, `cluster_unavailable`, `cluster_refused`
 */
export async function discoveredNow(discovery: Discovery): ReturnType<typeof findReplicas> {
  return findReplicas(discovery, await openCluster());
}

function connect(url: string): Connected {
  return createVllm({ url, timeoutMs: MODEL_CALL_TIMEOUT_MS, connections: ROLLOUT_CONNECTIONS });
}

function listed(
  agent: string,
  server: ReturnType<typeof listedServers>[number],
  index: number,
  { started }: { started: Started },
): Replica {
  const policyServer = connect(server.url);
  started.add(`client of ${server.url}`, () => policyServer.close());
  return {
    name: replicaName(agent, server, index),
    url: server.url,
    policyServer,
    hasOwnAdapterAgent: server.adapterAgent,
    // A server that nobody watches as a process tells of a restart by what it lost.
    instance: () => Promise.resolve(null),
  };
}

async function embedded(
  agent: string,
  { baseModel, model, embeddedReplicas }: AgentConfig,
  config: Config,
  { log, started, trainerDirectory }: { log: Logger; started: Started; trainerDirectory: string },
): Promise<readonly Replica[]> {
  const options = { python: resolve(config.python), trainerDirectory, model: baseModel };
  const starts = Array.from({ length: embeddedReplicas }, async (_, index): Promise<Replica> => {
    const server = await startEmbeddedServer({ ...options, servedModelName: model, port: 0 }, { log });
    started.add(`policy server ${index}`, () => server.close());
    const policyServer = connect(server.url);
    started.add(`client of ${server.url}`, () => policyServer.close());
    return { name: `${agent}-${index}`, url: server.url, policyServer, instance: () => Promise.resolve(server.instance()) };
  });
  const settled = await Promise.allSettled(starts);
  return settled.map((start) => {
    if (start.status === "rejected") throw start.reason;
    return start.value;
  });
}

/** Replicas that come and go. A client lives as long as its replica, and ends when the calls on it have. */
async function discovered(
  agent: string,
  discovery: Discovery,
  { log, started }: { log: Logger; started: Started },
): Promise<AgentReplicas> {
  const stopping = new AbortController();
  const source = createEndpointReplicas(
    discovery,
    { cluster: await openCluster(), log: log.child({ agent }) },
    { signal: stopping.signal },
  );
  const clients = new Map<string, Connected>();
  const closing = new Set<Promise<void>>();
  let replicas: readonly Replica[] | null = null;

  const close = (client: Connected): void => {
    const over: Promise<void> = client
      .close()
      .catch((cause: unknown) => log.warn({ err: cause, agent }, "client of a replica not closed"))
      .finally(() => closing.delete(over));
    closing.add(over);
  };
  const take = (): void => {
    const addresses = source.current();
    if (addresses === null) return;
    replicas = addresses.map((address) => {
      const client = clients.get(address.url) ?? connect(address.url);
      clients.set(address.url, client);
      return replicaOf(address, client);
    });
    const urls = new Set(addresses.map(({ url }) => url));
    for (const [url, client] of clients) {
      if (urls.has(url)) continue;
      clients.delete(url);
      close(client);
    }
  };
  take();
  source.subscribe(take);
  started.add(`replicas of ${agent}`, async () => {
    stopping.abort();
    await source.over;
    for (const client of clients.values()) close(client);
    await Promise.all(closing);
  });
  return {
    current() {
      if (replicas === null) throw nightshiftError("fleet_unknown", { agent });
      return replicas;
    },
    source,
  };
}

function replicaOf({ name, url, uid, isReady }: ReplicaAddress, policyServer: Connected): Replica {
  return { name, url, policyServer, uid, isReady, hasOwnAdapterAgent: true, instance: () => Promise.resolve(uid) };
}
