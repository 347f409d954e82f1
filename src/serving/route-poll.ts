import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../log.ts";
import { HEADER } from "../telemetry.ts";
import type { Disturbance, DisturbanceOutbox } from "./disturbance.ts";
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

export interface RoutePollDeps {
  table: RouteTable;
  /** What happened here is told before the next routes are asked for. While that fails routes are taken over as ever, but no lease is renewed. */
  disturbances: DisturbanceOutbox;
  log: Logger;
  /** The clock of the table's lease. */
  monotonicMs: () => number;
}

const ANSWER_MARGIN_MS = 5_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

/**
 * Long-polls `GET /v1/routes?agent=&version=&waitMs=` for every agent until `signal` aborts, which resolves it. 200 carries newer routes, 204 says that
 * `version` is still the newest. Either renews the candidate's lease as of the moment that the answer's header names, in which the leader stood by the routes;
 * an answer without it comes from a replica that knows of no living leader. Anything else is tried again after a pause.
 */
export async function pollRoutes(config: RoutePollConfig, deps: RoutePollDeps, options: { signal: AbortSignal }): Promise<void> {
  await Promise.all(config.agents.map((agent) => pollAgent(agent, config, deps, options.signal)));
}

async function pollAgent(agent: string, config: RoutePollConfig, deps: RoutePollDeps, signal: AbortSignal): Promise<void> {
  let pauseMs = 0;
  while (!signal.aborted) {
    try {
      const untold = await deps.disturbances
        .flush(agent, (disturbance) => tell(disturbance, config, signal))
        .then(
          () => null,
          (cause: unknown) => ({ cause }),
        );
      await pollOnce(agent, untold === null ? config : { ...config, waitMs: 0 }, deps, { signal, mayRenew: untold === null });
      if (untold !== null) throw untold.cause;
      pauseMs = 0;
    } catch (cause) {
      if (signal.aborted) return;
      if (pauseMs === 0) deps.log.warn({ agent, err: cause }, "control service not reached");
      pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, pauseMs * 2));
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

async function pollOnce(
  agent: string,
  config: RoutePollConfig,
  { table, monotonicMs }: RoutePollDeps,
  { signal, mayRenew }: { signal: AbortSignal; mayRenew: boolean },
): Promise<void> {
  const version = table.version(agent);
  const query = new URLSearchParams({ agent, version: String(version), waitMs: String(config.waitMs) });
  const sentAtMs = monotonicMs();
  const answer = await call(`/v1/routes?${query.toString()}`, {}, config, signal);
  const confirmedAtMs = mayRenew ? confirmedAt(answer.headers, sentAtMs) : null;
  if (answer.status === 204) {
    table.confirm(agent, version, confirmedAtMs);
    return;
  }
  if (answer.status !== 200) {
    await answer.body?.cancel();
    throw new Error(`the control service answered ${answer.status}`);
  }
  const routes = routesSchema.parse(await answer.json());
  if (routes.agent !== agent) throw new Error("the control service answered for another agent");
  if (table.receive(routes, confirmedAtMs) === "ignored") throw new Error("the control service has older routes than this gateway");
}

/** The request came after it was sent: counted from then, a lease is shorter by its way and never longer. */
function confirmedAt(headers: Headers, sentAtMs: number): number | null {
  const text = headers.get(HEADER.confirmed);
  const afterMs = text === null || text.trim() === "" ? Number.NaN : Number(text);
  return Number.isFinite(afterMs) ? sentAtMs + afterMs : null;
}

async function tell(disturbance: Disturbance, config: RoutePollConfig, signal: AbortSignal): Promise<void> {
  const answer = await call("/v1/disturbances", { method: "POST", body: JSON.stringify(disturbance) }, { ...config, waitMs: 0 }, signal);
  await answer.body?.cancel();
  if (!answer.ok) throw new Error(`the control service answered ${answer.status} to a disturbance`);
}

function call(path: string, init: { method?: string; body?: string }, config: RoutePollConfig, signal: AbortSignal): Promise<Response> {
  return fetch(`${config.controlUrl.replace(/\/+$/, "")}${path}`, {
    ...init,
    headers: {
      ...(init.body === undefined ? {} : { "content-type": "application/json" }),
      ...(config.token === undefined ? {} : { authorization: `Bearer ${config.token}` }),
    },
    signal: AbortSignal.any([signal, AbortSignal.timeout(config.waitMs + ANSWER_MARGIN_MS)]),
  });
}
