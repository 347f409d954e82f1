import { sql } from "kysely";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { createExperimentStore } from "../promotion/experiment-store.ts";
import { isLive, STATES, type State } from "../promotion/promotion.ts";
import type { Database } from "../store/database.ts";
import { observeGauge } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { startLoop, type Loop } from "./loop.ts";

const LOOK_EVERY_MS = 15_000;

/** One agent, as the database has it. Times are epoch milliseconds. */
interface AgentState {
  /** Of the newest night that ended well, or when the first one began; null before the first. */
  goodSinceMs: number | null;
  working: number;
  waiting: number;
  openSinceMs: number | null;
  openAlarms: number;
  promotion: { state: State; sinceMs: number } | null;
}

/** Whether this process's telemetry goes anywhere: what only metrics need is not looked up otherwise. */
export function isMeasured({ telemetry }: Config): boolean {
  return telemetry.otlpEndpoint !== undefined || telemetry.prometheus !== undefined;
}

/**
 * Looks the state of all agents up, again and again, and lets it be measured. Every replica of the control service does: whoever leads, and whether anybody does, the numbers are there and outlive restarts. Ages
 * grow between two looks, also while the database does not answer.
 */
export function startStateMeters(
  { agents }: { agents: readonly string[] },
  deps: { database: Database; log: Logger; now: () => number },
): Loop {
  let known: ReadonlyMap<string, AgentState> = new Map();
  let storeBytes: number | null = null;
  const since = (atMs: number): number => Math.max(0, deps.now() - atMs) / 1_000;
  const perAgent = (tell: (state: AgentState, agent: { "nightshift.agent": string }) => void): void => {
    for (const [agent, state] of known) tell(state, { "nightshift.agent": agent });
  };
  observeGauge(METRIC.runLastGoodAge, (result) =>
    perAgent(({ goodSinceMs }, agent) => goodSinceMs !== null && result.observe(since(goodSinceMs), agent)),
  );
  observeGauge(METRIC.runOpen, (result) =>
    perAgent(({ working, waiting }, agent) => {
      result.observe(working, { ...agent, "nightshift.state": "working" });
      result.observe(waiting, { ...agent, "nightshift.state": "waiting" });
    }),
  );
  observeGauge(METRIC.runOpenAge, (result) =>
    perAgent(({ openSinceMs }, agent) => result.observe(openSinceMs === null ? 0 : since(openSinceMs), agent)),
  );
  observeGauge(METRIC.alarmOpen, (result) => perAgent(({ openAlarms }, agent) => result.observe(openAlarms, agent)));
  observeGauge(METRIC.promotionState, (result) =>
    perAgent(({ promotion }, agent) => {
      for (const state of STATES) result.observe(promotion?.state === state ? 1 : 0, { ...agent, "nightshift.state": state });
    }),
  );
  observeGauge(METRIC.promotionStateAge, (result) =>
    perAgent(({ promotion }, agent) => promotion !== null && result.observe(since(promotion.sinceMs), agent)),
  );
  observeGauge(METRIC.storeSize, (result) => {
    if (storeBytes !== null) result.observe(storeBytes, {});
  });
  return startLoop({ name: "state", everyMs: LOOK_EVERY_MS, log: deps.log }, async () => {
    known = new Map(await Promise.all(agents.map(async (agent) => [agent, await stateOf(agent, deps)] as const)));
    storeBytes = await sizeOf(deps.database);
  });
}

async function stateOf(agent: string, deps: { database: Database; now: () => number }): Promise<AgentState> {
  const { rows } = await sql<RunFacts>`select
    coalesce(max(finished_at_ms) filter (where state = 'finished'), min(started_at_ms)) as good_since_ms,
    count(*) filter (where state = 'running' and begun)::int as working,
    count(*) filter (where state = 'running' and not begun)::int as waiting,
    min(started_at_ms) filter (where state = 'running') as open_since_ms,
    (select count(*)::int from alarms where acknowledged_at_ms is null and run_id =
      (select id from runs where agent = ${agent} and state = 'finished' order by started_at_ms desc limit 1)) as open_alarms
    from (select *, exists (select 1 from run_steps where run_steps.run_id = runs.id) as begun from runs where agent = ${agent}) r`.execute(
    deps.database.kysely,
  );
  const [runs] = rows;
  const promotions = await createExperimentStore(deps).list(agent);
  const shown = promotions.find(({ state }) => isLive(state)) ?? promotions[0];
  return {
    goodSinceMs: runs?.good_since_ms ?? null,
    working: runs?.working ?? 0,
    waiting: runs?.waiting ?? 0,
    openSinceMs: runs?.open_since_ms ?? null,
    openAlarms: runs?.open_alarms ?? 0,
    promotion: shown === undefined ? null : { state: shown.state, sinceMs: shown.stateSinceMs },
  };
}

interface RunFacts {
  good_since_ms: number | null;
  working: number;
  waiting: number;
  open_since_ms: number | null;
  open_alarms: number;
}

async function sizeOf({ kysely }: Database): Promise<number | null> {
  const { rows } = await sql<{ bytes: number }>`select pg_database_size(current_database()) as bytes`.execute(kysely);
  return rows[0]?.bytes ?? null;
}
