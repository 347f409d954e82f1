import { join } from "node:path";
import type { AgentControl } from "../api/control.ts";
import { createApi } from "../api/server.ts";
import type { ArtifactStore } from "../artifact/artifact-store.ts";
import { keyId, loadSigningKey, readSigningKey, type SigningKey } from "../artifact/signing-key.ts";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { createGatewayRouter, type GatewayRouter } from "../promotion/gateway-router.ts";
import { createRouteWatch, type RouteWatch } from "../promotion/route-watch.ts";
import { createRecordingsCache } from "../rollout/recordings-cache.ts";
import type { Database } from "../store/database.ts";
import type { Election } from "../store/election.ts";
import { pinSetting } from "../store/pinned-setting.ts";
import { createRunFiles } from "../training/run-files.ts";
import { createRunQueue } from "../training/run-queue.ts";
import { createRunStore } from "../training/run-store.ts";
import { createAdapterSlots, requireSlot, type AdapterSlots } from "./adapter-slots.ts";
import { openObjects } from "./artifacts.ts";
import { prepareAgent, type AgentParts } from "./agent-parts.ts";
import { createBootstrapDesk } from "./bootstrap-desk.ts";
import { openClusterMirror } from "./cluster-mirror.ts";
import { openJobRunner } from "./job-runner.ts";
import { createLeader, type Leader } from "./leader.ts";
import { startLoop } from "./loop.ts";
import { createNightDesk } from "./night-desk.ts";
import { findRedactionKeys } from "./redaction-keys.ts";
import { openRouters } from "./routers.ts";
import type { Started } from "./started.ts";
import { isMeasured, startStateMeters } from "./state-meters.ts";

/** The control service as one process has it: API and page always, the loops of nights and promotions while it leads. */
export interface Control {
  apiPort: number;
  agents: readonly AgentParts[];
  watch: RouteWatch;
}

export interface ControlDeps {
  database: Database;
  artifacts: ArtifactStore;
  election: Election;
  log: Logger;
  /** The entry's environment: judges' keys may be named in it. */
  env: Record<string, string | undefined>;
  now: () => number;
  monotonicMs: () => number;
}

/** Between two looks at what the leader wrote, at most: half of it is what a follower is behind on average, the whole is lost of every lease. */
const LOOK_EVERY_MS = 400;
/** Looks in the time of a lease, at least. */
const LOOKS_PER_LEASE = 30;
const LONGEST_LOOK_PAUSE_MS = 2_000;
/** How old the time may be of which a dry run speaks (quarantine ends by it), and of which tools and replays are shown. */
const PLAN_AGE_MS = 60_000;
const VIEW_AGE_MS = 300_000;

/**
 * Starts the control service. Every replica answers reads, the page and the gateways; what an operator wants is written down by whichever replica was asked, and
 * the leader acts on what is written.
 * @param config With an absolute `dataDir`.
 * @param options `gatewayGraceMs` as in `createLeader`.
 */
export async function startControl(
  config: Config,
  options: { gatewayGraceMs: number },
  deps: ControlDeps,
  started: Started,
): Promise<Control> {
  const { database, artifacts, election, log, now, monotonicMs } = deps;
  const { dataDir } = config;
  const key = await signingKeyOf(config, database);
  const agents: AgentParts[] = [];
  const found = (slug: string): readonly { url: string }[] => agents.find(({ agent }) => agent === slug)?.replicas.source?.current() ?? [];
  const slots = createAdapterSlots(config, { ...deps, found });
  for (const [agent, { tenant }] of Object.entries(config.agents)) await requireSameTenant(database, agent, tenant);
  const runs = createRunStore(database, now);
  const queue = createRunQueue({ runsAtOnce: config.training.runsAtOnce, agents: Object.keys(config.agents) }, { database, log });
  const runsDirectory = join(dataDir, "runs");
  const mirror = config.artifacts.driver === "s3" ? await openObjects(config.artifacts, deps) : null;
  if (mirror !== null) started.add("bucket of run directories", async () => mirror.close());
  const jobRunner = await openJobRunner(config, { mirror, log, now });
  started.add("trainer", () => jobRunner.close());
  const runFiles = createRunFiles({ runsDirectory }, { mirror });
  for (const agent of Object.keys(config.agents)) agents.push(await prepareAgent(agent, config, { ...deps, started }));

  if (isMeasured(config)) {
    const meters = startStateMeters({ agents: Object.keys(config.agents) }, deps);
    started.add("state meters", () => meters.stop());
  }

  const router = createGatewayRouter(deps);
  const routers = await openRouters(config, router, deps);
  const watch = await startWatch(config, router, deps, started);
  const clusterMirror = await openClusterMirror(config, { name: election.name }, { database, runs, router: routers, log, now });
  const leader = createLeader(
    { config, agents, runsDirectory, ...options },
    {
      ...{ database, artifacts, jobRunner, runs, queue, slots, runFiles, key, router: routers, watch, log, now, monotonicMs },
      mirror: clusterMirror,
    },
  );
  election.campaign((term) => leader.lead(term));
  started.add("leadership", () => election.close());
  const controls = new Map(agents.map((parts) => [parts.agent, controlOf(parts, { database, runs, slots, now, leader })]));
  const api = createApi(config, {
    ...{ database, artifacts, runs, queue, watch, runsDirectory, log, now, monotonicMs },
    traffic: routers,
    router: { ...router, draws: (agent) => routers.draws(agent) },
    tenants: Object.keys(config.tenants),
    runFiles,
    redactionKey: await findRedactionKeys(config, deps),
    agents: controls,
    replica: election,
  });
  const { port: apiPort } = await api.start();
  started.add("api", () => api.close());
  return { apiPort, agents, watch };
}

/** What the database says of routes and of who leads, looked at for as long as the process lives. */
async function startWatch(config: Config, router: GatewayRouter, deps: ControlDeps, started: Started): Promise<RouteWatch> {
  const watch = createRouteWatch(deps);
  await watch.look();
  const everyMs = Math.min(LOOK_EVERY_MS, config.gateway.leaseMs / LOOKS_PER_LEASE);
  const pauses = { everyMs, longestPauseMs: LONGEST_LOOK_PAUSE_MS };
  const looking = startLoop({ name: "routes", ...pauses, log: deps.log }, () => watch.look());
  started.add("routes", () => looking.stop());
  // Where this process decides, its own gateways need not wait for the next look.
  router.subscribe(() => looking.wake());
  return watch;
}

/** A replica with a key of its own would, as leader, refuse what another has signed, and so roll its canary back. */
async function signingKeyOf({ artifacts: { signingKeyFile }, dataDir }: Config, database: Database): Promise<SigningKey> {
  const key = signingKeyFile === undefined ? loadSigningKey(join(dataDir, "keys")) : readSigningKey(signingKeyFile);
  const id = keyId(key.publicKey);
  const expected = await pinSetting(database.kysely, "signing_key", id);
  if (id !== expected) throw nightshiftError("signing_key_differs", { id, expected });
  return key;
}

/** What nights have made under an agent's slug was learned from its tenant: under another one it would serve, and teach, somebody else. */
async function requireSameTenant(database: Database, agent: string, tenant: string): Promise<void> {
  const expected = await pinSetting(database.kysely, `agent_tenant:${agent}`, tenant);
  if (tenant !== expected) throw nightshiftError("agent_moved", { agent, tenant, expected });
}

function controlOf(
  { agent, config, baseDigest, replicas, calibrator, offTape, sandbox }: AgentParts,
  deps: { database: Database; runs: ReturnType<typeof createRunStore>; slots: AdapterSlots; now: () => number; leader: Leader },
): AgentControl {
  const seen = createRecordingsCache(deps.database, { agent, config }, deps);
  const recordings = () => seen.recordings({ maxAgeMs: PLAN_AGE_MS });
  const requireRoom = () => requireSlot(deps.slots, agent);
  const desk = createNightDesk(
    { agent, config, identity: calibrator?.identity ?? null },
    { ...deps, recordings, requireSlot: requireRoom },
  );
  const bootstrap = createBootstrapDesk({ agent, config, identity: calibrator?.identity ?? null, sandbox }, deps);
  const wake = (): void => deps.leader.wake(agent);
  return {
    agent,
    config,
    baseDigest,
    calibrator,
    liveReads: offTape.liveReads,
    slots: () => deps.slots.shortage(agent, 0),
    bootstrap: {
      ...bootstrap,
      async start(wish) {
        await requireRoom();
        return bootstrap.start(wish);
      },
    },
    wake,
    async startRun(options) {
      const started = await desk.start(options);
      wake();
      return started;
    },
    dryRun: () => desk.dryRun(),
    recordings: () => seen.recordings({ maxAgeMs: VIEW_AGE_MS }),
    replicaSource: replicas.source,
    replicas: () =>
      Promise.all(
        replicas.current().map(async ({ name, url, policyServer }) => ({
          name,
          url,
          models: (await policyServer.models())?.map(({ id }) => id) ?? null,
        })),
      ),
  };
}
