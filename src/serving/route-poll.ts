import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../log.ts";
import type { RouteTable } from "./route-table.ts";
import { routesSchema } from "./routes.ts";

export interface RoutePollConfig {
  /** Base URL of the control service. */
  controlUrl: string;
  agents: readonly string[];
  /** Bearer token of the gateway's role; never logged. */
  token?: string | undefined;
  /** How long the control service may hold a request without news. Well below the lease, which every answer renews. */
  waitMs: number;
}

const ANSWER_MARGIN_MS = 5_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

/**
 * Long-polls `GET /v1/routes?agent=&version=&waitMs=` for every agent until `signal` aborts, which resolves it. 200 carries newer routes, 204 says that
 * `version` is still the newest; both renew the candidate's lease. Anything else is tried again after a pause, and renews nothing.
 */
export async function pollRoutes(
  config: RoutePollConfig,
  deps: { table: RouteTable; log: Logger },
  options: { signal: AbortSignal },
): Promise<void> {
  await Promise.all(config.agents.map((agent) => pollAgent(agent, config, deps, options.signal)));
}

async function pollAgent(
  agent: string,
  config: RoutePollConfig,
  deps: { table: RouteTable; log: Logger },
  signal: AbortSignal,
): Promise<void> {
  let pauseMs = 0;
  while (!signal.aborted) {
    try {
      await pollOnce(agent, config, deps.table, signal);
      pauseMs = 0;
    } catch (cause) {
      if (signal.aborted) return;
      if (pauseMs === 0) deps.log.warn({ agent, err: cause }, "control service not reached");
      pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, pauseMs * 2));
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

async function pollOnce(agent: string, config: RoutePollConfig, table: RouteTable, signal: AbortSignal): Promise<void> {
  const version = table.version(agent);
  const url = new URL(`${config.controlUrl.replace(/\/+$/, "")}/v1/routes`);
  url.search = new URLSearchParams({ agent, version: String(version), waitMs: String(config.waitMs) }).toString();
  const answer = await fetch(url, {
    headers: config.token === undefined ? {} : { authorization: `Bearer ${config.token}` },
    signal: AbortSignal.any([signal, AbortSignal.timeout(config.waitMs + ANSWER_MARGIN_MS)]),
  });
  if (answer.status === 204) {
    table.confirm(agent, version);
    return;
  }
  if (answer.status !== 200) {
    await answer.body?.cancel();
    throw new Error(`the control service answered ${answer.status}`);
  }
  const routes = routesSchema.parse(await answer.json());
  if (routes.agent !== agent) throw new Error("the control service answered for another agent");
  if (table.receive(routes) === "ignored") throw new Error("the control service has older routes than this gateway");
}
