import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { loadPublicKeys } from "../artifact/signing-key.ts";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { AdapterAgent } from "../serving/adapter-agent.ts";
import { createControlClient, type ControlClient } from "../serving/control-client.ts";
import type { DesiredAdapters } from "../serving/desired-adapters.ts";
import { createDesiredCache, type DesiredCache } from "../serving/desired-cache.ts";
import { createVllm } from "../serving/vllm.ts";
import { makeDataDirectory } from "../store/data-directory.ts";
import { openArtifacts } from "./artifacts.ts";
import { baseModelDigest } from "./base-model.ts";
import { serveReadiness } from "./readiness-server.ts";
import { createReplicaAdapters } from "./replica-adapters.ts";
import { serversOf, type ServedAgent } from "./served-agents.ts";

/** The adapter agent of one policy server, as it runs beside it. */
export interface AdapterAgentProcess {
  /** Of `/health` and `/ready`. */
  port: number;
  close(): Promise<void>;
}

interface AdapterAgentProcessDeps {
  log: Logger;
  token?: string | undefined;
  /** The entry's environment: `POD_UID` is what this pod's replica is told apart by. */
  env?: Record<string, string | undefined>;
  /** Of a discovered replica: its Service, and where its server listens for this process. */
  service?: string | undefined;
  serverUrl?: string | undefined;
}

const CALL_TIMEOUT_MS = 120_000;
const CONNECTIONS = 8;
const POLL_EVERY_MS = 1_000;

/**
 * Keeps the adapters of one policy server as the control service wants them, and says so there. The desired set is kept on disk: with the control service
 * down a server that restarts still gets its adapters back.
 * @param replica Name of the policy server in `agents.*.policyServers`, or of the pod that this process is in, where policy servers are discovered.
 * @throws NightshiftError `config_invalid` for what only matters here, `public_key_invalid`, `port_taken`
 */
export async function startAdapterAgentProcess(
  config: Config,
  replica: string,
  deps: AdapterAgentProcessDeps,
): Promise<AdapterAgentProcess> {
  const { log } = deps;
  const { controlUrl, publicKeyFile } = config.adapterAgent;
  if (controlUrl === undefined) throw missing("adapterAgent.controlUrl", "the adapter agent needs the control service's address");
  if (publicKeyFile === undefined)
    throw missing("adapterAgent.publicKeyFile", "the adapter agent needs the key that adapters are signed with");
  const { url, agents, isDiscovered } = serversOf(config, replica, deps);
  const uid = deps.env?.["POD_UID"] ?? null;
  if (isDiscovered && uid === null)
    throw missing("POD_UID", "reports count for the pod that they come from: give it metadata.uid by the downward API");
  const directory = join(resolve(config.dataDir), `adapter-agent-${replica}`);
  makeDataDirectory(directory);
  const { baseDigest, model } = await oneBase(agents, directory);
  const server = createVllm({ url, timeoutMs: CALL_TIMEOUT_MS, connections: CONNECTIONS });
  const control = createControlClient({ controlUrl, token: deps.token });
  const adapters = createReplicaAdapters(
    {
      // A server that nobody watches as a process tells of a restart by what it lost; its pod, where it has one, is what its reports count for.
      replica: { name: replica, url, policyServer: server, instance: () => Promise.resolve(uid) },
      agents: agents.map(({ agent }) => agent),
      baseModel: model,
      baseDigest,
      publicKeys: loadPublicKeys(publicKeyFile),
    },
    {
      artifacts: await openArtifacts({ ...config, dataDir: resolve(config.dataDir) }, { env: deps.env ?? {} }),
      publish: (report, { signal }) => control.report(report, signal),
      log,
      now: Date.now,
      monotonicMs: () => performance.now(),
    },
  );
  const stopping = new AbortController();
  const desired = new Map<string, DesiredAdapters>();
  // Meant as the readiness probe of the policy server's pod, which keeps a replica out of service until it has what stable answers with. What is known of its base
  // makes no replica unready, because what refuses on one may refuse on all, but gateways send calls elsewhere while they can.
  const readiness = await serveReadiness({ what: "the adapter agent", ...config.adapterAgent }, () => ({
    notReadyBecause: notReadyBecause(agents, desired, adapters),
    facts: { base: adapters.base() },
  }));
  const following = followDesired(
    { agents: agents.map(({ agent }) => agent), desired },
    { control, cache: createDesiredCache(join(directory, "desired.json"), { log }), adapters, log },
    stopping.signal,
  );
  const running = adapters.run({ signal: stopping.signal });
  return {
    port: readiness.port,
    async close() {
      await readiness.close();
      stopping.abort();
      await Promise.all([running, following]);
      await server.close();
    },
  };
}

/** Nothing is loaded or unloaded before every agent of the server was heard of, from the control service or from disk. */
async function followDesired(
  { agents, desired }: { agents: readonly string[]; desired: Map<string, DesiredAdapters> },
  { control, cache, adapters, log }: { control: ControlClient; cache: DesiredCache; adapters: AdapterAgent; log: Logger },
  signal: AbortSignal,
): Promise<void> {
  const want = (): void => {
    if (agents.every((agent) => desired.has(agent))) adapters.want([...desired.values()].flatMap((one) => one.adapters));
  };
  for (const one of await cache.read()) if (agents.includes(one.agent)) desired.set(one.agent, one);
  want();
  let isReached = true;
  while (!signal.aborted) {
    try {
      const heard = await Promise.all(agents.map((agent) => control.desired(agent, signal)));
      const news = heard.filter((one) => one !== null && JSON.stringify(one) !== JSON.stringify(desired.get(one.agent)));
      for (const one of news) if (one !== null) desired.set(one.agent, one);
      if (news.length > 0) {
        await cache.write([...desired.values()]);
        want();
      }
      if (!isReached) log.info({}, "control service reached again");
      isReached = true;
    } catch (cause) {
      if (signal.aborted) return;
      if (isReached) log.warn({ err: cause }, "control service not reached");
      isReached = false;
    }
    await sleep(POLL_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** null: the replica may get traffic. */
function notReadyBecause(
  agents: readonly { agent: string }[],
  desired: ReadonlyMap<string, DesiredAdapters>,
  adapters: AdapterAgent,
): string | null {
  for (const { agent } of agents) {
    const one = desired.get(agent);
    if (one === undefined) return `nothing is known yet of what ${agent} should be served with`;
    if (one.stable !== null && !adapters.isAttested(one.stable)) return `${one.stable} is not attested on this replica`;
  }
  return null;
}

async function oneBase(
  agents: readonly ServedAgent[],
  directory: string,
): Promise<{ baseDigest: Awaited<ReturnType<typeof baseModelDigest>>; model: string }> {
  const cache = join(directory, "base-digests.json");
  const bases = await Promise.all(
    agents.map(async ({ agent, config }) => ({ agent, model: config.model, baseDigest: await baseModelDigest(agent, config, cache) })),
  );
  const [first] = bases;
  const other = bases.find(({ baseDigest }) => baseDigest !== first?.baseDigest);
  if (first === undefined || other !== undefined) {
    const problem = `it shares a policy server with ${first?.agent ?? "nobody"} but has another base model`;
    throw nightshiftError("config_invalid", {
      path: `agents.${other?.agent ?? ""}.baseModel`,
      received: other?.baseDigest ?? "nothing",
      problem,
    });
  }
  return { baseDigest: first.baseDigest, model: first.model };
}

function missing(path: string, problem: string): Error {
  return nightshiftError("config_invalid", { path, received: "nothing", problem });
}
