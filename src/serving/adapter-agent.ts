import { setTimeout as sleep } from "node:timers/promises";
import { agentOfAdapter } from "../artifact/adapter.ts";
import type { Logger } from "../log.ts";
import { createGauge } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { bringUp, PROVING, type BringUpDeps, type BringUpResult, type DesiredAdapter } from "./adapter-bring-up.ts";
import { createReportOutbox, type AdapterReport } from "./adapter-report.ts";
import type { ModelCard } from "./policy-server.ts";

export interface AdapterAgentDeps extends BringUpDeps {
  /** Identity of the server's process (start time, restart count); null when it cannot be told now. */
  instance(options: { signal?: AbortSignal }): Promise<string | null>;
  /** Hands a report to the control plane; one that fails is repeated. */
  publish(report: AdapterReport, options: { signal?: AbortSignal }): Promise<void>;
  /** Wall clock, for reports. */
  now: () => number;
  monotonicMs: () => number;
  log: Logger;
}

export interface AdapterAgentConfig {
  replica: string;
  /** Slugs of the agents whose adapters this one manages; on a fleet that several share, each adapter agent must be told its own. Unset: all. */
  agents?: readonly string[];
  /** Pause between passes; a restart is noticed within it. */
  intervalMs: number;
  /** Pause before something that failed is tried again. */
  retryMs: number;
}

/** Keeps one replica's adapters as the control plane wants them. */
export interface AdapterAgent {
  /** Replaces the desired set and starts a pass. It must hold every adapter that a route, a pin or the last known good names. */
  want(desired: readonly DesiredAdapter[]): void;
  /** One pass: afterwards everything that could be done now is done. Passes never overlap. */
  reconcile(options?: { signal?: AbortSignal }): Promise<void>;
  /** Passes until `signal` aborts, which resolves it. */
  run(options: { signal: AbortSignal }): Promise<void>;
  /** True while this adapter is proven active on the running server process. */
  isAttested(name: string): boolean;
  base(): BaseStanding;
}

/**
 * What the proofs of adapters say of the base of the server process that runs now: it is the one that they were trained on; it is another one; a proof is still to
 * come, or the server does not answer; there was nothing to prove it with.
 */
export type BaseStanding = "proven" | "another" | "pending" | "untested";

type Known = { status: "attested" } | { status: "refused" } | { status: "waiting"; notBeforeMs: number };

interface Memory {
  instance: string;
  /** Of the process that runs now, whatever becomes of the adapters that told it. */
  base: BaseStanding;
  known: Map<string, Known>;
}

type AdapterGauge = ReturnType<typeof createGauge<typeof METRIC.replicaAdapters>>;

type Options = { signal?: AbortSignal };

/**
 * Reconciles by looking, not by remembering: every pass asks the server what it serves and which process it is, and loads, proves and reports what is
 * missing. So a crash of either side anywhere converges, and a server that restarted and forgot everything is whole again after one pass.
 */
export function createAdapterAgent(config: AdapterAgentConfig, deps: AdapterAgentDeps): AdapterAgent {
  const memory: Memory = { instance: "unknown", base: "pending", known: new Map() };
  const outbox = createReportOutbox(config, deps);
  const adapters = createGauge(METRIC.replicaAdapters);
  let desired: readonly DesiredAdapter[] | null = null;
  let passes: Promise<void> = Promise.resolve();
  let wake = new AbortController();

  async function pass(options: Options): Promise<void> {
    const wanted = desired;
    // Before the first desired set nothing is known about what must stay.
    if (wanted === null) return;
    const cards = await deps.policyServer.models(options);
    if (cards === null) forgetProcess(memory);
    if (cards === null) return measure(adapters, config, wanted, new Map());
    const lost = notice(memory, cards, wanted, await deps.instance(options));
    for (const adapter of lost) outbox.add(adapter, memory.instance, { status: "lost" });
    await unloadOthers(memory, cards, wanted, { config, ...deps }, options);
    for (const adapter of wanted.filter(({ name }) => isDue(memory.known.get(name), deps.monotonicMs()))) {
      const isLoaded = cards.some(({ id }) => id === adapter.name);
      const result = await attempt(adapter, isLoaded, deps, options);
      if (result.status === "retry") {
        memory.known.set(adapter.name, { status: "waiting", notBeforeMs: deps.monotonicMs() + config.retryMs });
        deps.log.warn({ adapter_id: adapter.digest, replica: config.replica, problem: result.problem }, "adapter not up yet");
        continue;
      }
      memory.known.set(adapter.name, { status: result.status === "active" ? "attested" : "refused" });
      memory.base = baseAfter(result, memory.base);
      outbox.add(adapter, memory.instance, result.status === "active" ? { status: "attested", figures: result.figures } : result);
    }
    if (memory.base === "pending" && [...memory.known.values()].every(({ status }) => status !== "waiting")) memory.base = "untested";
    measure(adapters, config, wanted, memory.known);
    await outbox.flush(options);
  }

  function reconcile(options: Options = {}): Promise<void> {
    const next = passes.then(() => pass(options));
    passes = next.catch(() => undefined);
    return next;
  }

  return {
    want(next) {
      desired = next;
      wake.abort();
    },
    reconcile,
    async run({ signal }) {
      while (!signal.aborted) {
        wake = new AbortController();
        try {
          await reconcile({ signal });
        } catch (cause) {
          if (!signal.aborted) deps.log.error({ replica: config.replica, err: cause }, "adapter pass failed");
        }
        await sleep(config.intervalMs, undefined, { signal: AbortSignal.any([signal, wake.signal]) }).catch(() => undefined);
      }
      // Whoever looks after the replica now says what is there; a gauge would repeat this one's last word.
      measure(adapters, { ...config, agents: agentsOf(config, desired ?? []) }, [], new Map());
    },
    isAttested: (name) => memory.known.get(name)?.status === "attested",
    base: () => memory.base,
  };
}

/** A proof that came to a result had the base in it; a file that was refused before it, or a load, says nothing. */
function baseAfter(result: BringUpResult, before: BaseStanding): BaseStanding {
  if (result.status === "active") return "proven";
  if (result.status !== "refused") return before;
  if (result.reason === "wrong_base") return "another";
  return result.reason === "no_effect" || result.reason === "off_scale" ? "proven" : before;
}

function isDue(state: Known | undefined, nowMs: number): boolean {
  return state === undefined || (state.status === "waiting" && nowMs >= state.notBeforeMs);
}

/** By agent: several adapter agents of one process may each look after another agent's adapters on one replica. */
function measure(
  gauge: AdapterGauge,
  { replica, agents = [] }: AdapterAgentConfig,
  wanted: readonly DesiredAdapter[],
  known: ReadonlyMap<string, Known>,
): void {
  const byAgent = Map.groupBy(wanted, ({ name }) => agentOfAdapter(name) ?? "");
  for (const agent of agentsOf({ agents }, wanted)) {
    for (const state of ["attested", "waiting", "refused"] as const) {
      const count = byAgent.get(agent)?.filter(({ name }) => (known.get(name)?.status ?? "waiting") === state).length ?? 0;
      gauge.record(count, { "nightshift.replica": replica, "nightshift.agent": agent, "nightshift.adapter.state": state });
    }
  }
}

function agentsOf({ agents = [] }: Pick<AdapterAgentConfig, "agents">, wanted: readonly DesiredAdapter[]): string[] {
  return [...new Set([...agents, ...wanted.map(({ name }) => agentOfAdapter(name) ?? "")])];
}

/** A server that does not answer may be another process when it does: what the one before refused says nothing about that one, nor does its base. */
function forgetProcess(memory: Memory): void {
  memory.base = "pending";
  for (const [name, { status }] of memory.known) if (status === "refused") memory.known.delete(name);
}

/**
 * Forgets what was known of adapters that the server does not have any more, and of all of them when it is another process now: even a refusal may have
 * been that process's fault. Returns the attested ones among them.
 */
function notice(
  memory: Memory,
  cards: readonly ModelCard[],
  wanted: readonly DesiredAdapter[],
  instance: string | null,
): readonly DesiredAdapter[] {
  const isRestarted = instance !== null && memory.instance !== "unknown" && instance !== memory.instance;
  const forgotten = wanted.filter(({ name }) => {
    const isGone = memory.known.get(name)?.status === "attested" && !cards.some(({ id }) => id === name);
    return memory.known.has(name) && (isRestarted || isGone);
  });
  const lost = forgotten.filter(({ name }) => memory.known.get(name)?.status === "attested");
  for (const { name } of forgotten) memory.known.delete(name);
  if (isRestarted || lost.length > 0) memory.base = "pending";
  memory.instance = instance ?? memory.instance;
  return lost;
}

async function unloadOthers(
  memory: Memory,
  cards: readonly ModelCard[],
  wanted: readonly DesiredAdapter[],
  { config, policyServer, log }: Pick<AdapterAgentDeps, "policyServer" | "log"> & { config: AdapterAgentConfig },
  options: Options,
): Promise<void> {
  const names = new Set(wanted.map(({ name }) => name));
  for (const { id } of cards) {
    // Only what bears a name of ours is ever unloaded: an operator's own adapters stay.
    const agent = agentOfAdapter(id.replace(PROVING, ""));
    if (agent === null || names.has(id) || config.agents?.includes(agent) === false) continue;
    await policyServer.unloadAdapter(id, options);
    log.info({ adapter: id, replica: config.replica }, "adapter unloaded");
  }
  for (const name of memory.known.keys()) if (!names.has(name)) memory.known.delete(name);
}

async function attempt(adapter: DesiredAdapter, isLoaded: boolean, deps: AdapterAgentDeps, options: Options): Promise<BringUpResult> {
  try {
    return await bringUp(adapter, isLoaded, deps, options);
  } catch (cause) {
    if (options.signal?.aborted === true) throw cause;
    // One adapter's trouble (a full disk, an unreadable store) must not keep the others from coming up.
    return { status: "retry", problem: cause instanceof Error ? cause.message : "unknown problem" };
  }
}
