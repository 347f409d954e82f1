import { mkdtempSync } from "node:fs";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as readText } from "node:stream/consumers";
import type { AgentControl, ApiDeps } from "../../src/api/control.ts";
import { createApi } from "../../src/api/server.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import type { Role } from "../../src/config-api.ts";
import { parseConfig, type AgentConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createGatewayRouter, type GatewayRouter } from "../../src/promotion/gateway-router.ts";
import { createRouteWatch } from "../../src/promotion/route-watch.ts";
import type { TrafficRouter } from "../../src/promotion/traffic-router.ts";
import type { LiveReads } from "../../src/rollout/live-reads.ts";
import type { Recordings } from "../../src/rollout/recordings.ts";
import type { Calibrator } from "../../src/reward/calibration/calibrate.ts";
import type { Database } from "../../src/store/database.ts";
import { beginOnce } from "../../src/training/begin-once.ts";
import { planJudge } from "../../src/training/judge-trust.ts";
import { createRunFiles } from "../../src/training/run-files.ts";
import { createRunQueue } from "../../src/training/run-queue.ts";
import { createRunStore, type RunStore } from "../../src/training/run-store.ts";
import { holdReplicas, type HeldReplicas } from "../../src/serving/replica-source.ts";

/** A listening API over a real database, with agents whose nights are only registered. */
export interface ApiWorld {
  url: string;
  dir: string;
  runs: RunStore;
  router: GatewayRouter;
  /** The replicas of every agent, as if they were discovered. */
  found: HeldReplicas;
  /** How often somebody asked the agent to look now. */
  woken(): number;
  /** Time goes by in which the API does not look at the database. */
  pass(ms: number): void;
  look(): Promise<void>;
  /** Every route of the API. */
  routes(): { method: string; path: string }[];
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>;
  delete(path: string, headers?: Record<string, string>): Promise<Answer>;
  close(): Promise<void>;
}

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into whatever came
  body: any;
}

export const REDACTION_KEY = new Uint8Array(32).fill(7);
export const NOW_MS = 1_700_000_000_000;

export async function apiWorld(
  database: Database,
  options: {
    tokens?: Partial<Record<Role, string[]>>;
    host?: string;
    agent?: Record<string, unknown>;
    /** Instead of the tenant `default` with its agent `support`. */
    config?: { tenants: Record<string, object>; agents: Record<string, object> };
    recordings?: (agent: string, config: AgentConfig) => Promise<Recordings>;
    liveReads?: LiveReads;
    /** Of artifacts and runs. Unset: a new one. */
    dir?: string;
    /** What splits traffic, where that is not only the gateways. */
    traffic?: (gateway: TrafficRouter) => TrafficRouter;
    /** Where adapters do not fit. */
    slots?: { url: string; slots: number; wanted: number };
    /** What every policy server lists. */
    models?: readonly string[];
    calibrator?: (database: Database) => Calibrator;
    bootstrap?: (given: Pick<ApiDeps, "database" | "runs" | "now">) => AgentControl["bootstrap"];
  } = {},
): Promise<ApiWorld> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), "nightshift-api-"));
  const now = () => NOW_MS;
  const log = silentLog();
  const runs = createRunStore(database, now);
  let monotonicMs = 0;
  const watch = createRouteWatch({ database, monotonicMs: () => monotonicMs });
  await watch.look();
  const stored = createGatewayRouter({ database, log });
  // What was set is known to the API at once, as if it had just looked.
  const router: GatewayRouter = {
    ...stored,
    async setRoutes(routes) {
      const result = await stored.setRoutes(routes);
      await watch.look();
      return result;
    },
    async withhold(agent, by) {
      await stored.withhold(agent, by);
      await watch.look();
    },
  };
  const config = parseConfig({
    api: { port: 0, host: options.host ?? "127.0.0.1", tokens: options.tokens ?? {} },
    ...(options.config ?? { agents: { support: { model: "support", baseModel: "base", ...options.agent } } }),
  });
  const found = holdReplicas();
  found.set([{ name: "r0", url: "http://r0", readinessUrl: "http://r0:4402/ready", uid: "uid-0", isReady: true }]);
  let wakes = 0;
  const controlOf = (slug: string, agent: AgentConfig): AgentControl => {
    const control: AgentControl = {
      agent: slug,
      config: agent,
      baseDigest: "sha256:base",
      calibrator: options.calibrator?.(database) ?? null,
      liveReads: options.liveReads ?? null,
      slots: () => Promise.resolve(options.slots ?? null),
      startRun({ force, key }) {
        const { tenant } = agent;
        const begin = async (id: string): Promise<void> => {
          const judge = await planJudge(slug, agent, { identity: control.calibrator?.identity ?? null, force }, database);
          await runs.create({ id, tenant, agent: slug, plan: { judge }, nowMs: NOW_MS });
        };
        return beginOnce({ tenant, agent: slug, key }, begin, { runs });
      },
      dryRun: () => Promise.reject(new Error("not asked here")),
      bootstrap: options.bootstrap?.({ database, runs, now }) ?? {
        start: () => Promise.reject(new Error("not asked here")),
        dryRun: () => Promise.reject(new Error("not asked here")),
      },
      recordings: () => options.recordings?.(slug, agent) ?? Promise.reject(new Error("not asked here")),
      replicaSource: found,
      replicas: () => Promise.resolve([{ name: "r0", url: "http://r0", models: options.models ?? null }]),
      wake: () => void (wakes += 1),
    };
    return control;
  };
  const agents = new Map(Object.entries(config.agents).map(([slug, agent]) => [slug, controlOf(slug, agent)]));
  const artifacts = createFileArtifactStore({ dir: join(dir, "artifacts") });
  const api = createApi(config, {
    database,
    artifacts,
    runs,
    queue: createRunQueue({ runsAtOnce: 1, agents: Object.keys(config.agents) }, { database, log }),
    router,
    traffic: options.traffic?.(router) ?? router,
    watch,
    replica: { name: "this-one", isLeader: () => true },
    monotonicMs: () => monotonicMs,
    agents,
    runsDirectory: dir,
    tenants: Object.keys(config.tenants),
    runFiles: createRunFiles({ runsDirectory: dir }, { mirror: null }),
    redactionKey: () => ({ key: REDACTION_KEY, isShared: true }),
    log,
    now,
  });
  const url = `http://127.0.0.1:${(await api.start()).port}`;
  return {
    ...{ url, dir, runs, router, found },
    woken: () => wakes,
    pass: (ms) => void (monotonicMs += ms),
    look: () => watch.look(),
    routes: () => api.routes(),
    get: (path, headers = {}) => call(url, "GET", path, undefined, headers),
    post: (path, body, headers = {}) => call(url, "POST", path, body, headers),
    delete: (path, headers = {}) => call(url, "DELETE", path, undefined, headers),
    close: () => api.close(),
  };
}

/** Not `fetch`, which sets Host and Origin itself: they are what some of these tests are about. */
async function call(url: string, method: string, path: string, body: unknown, headers: Record<string, string>): Promise<Answer> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = httpRequest(`${url}${path}`, { method, headers: { "content-type": "application/json", ...headers } }, resolve);
    request.on("error", reject);
    request.end(typeof body === "string" || body === undefined ? body : JSON.stringify(body));
  });
  const text = await readText(answer);
  const isJson = String(answer.headers["content-type"]).startsWith("application/json");
  return { status: answer.statusCode ?? 0, headers: answer.headers, body: isJson ? (JSON.parse(text) as unknown) : text };
}
