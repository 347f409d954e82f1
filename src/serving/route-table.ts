import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import type { Logger } from "../log.ts";
import { createCounter, observeGauge } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import type { EffectiveRoute } from "./assignment.ts";
import { createLease } from "./lease.ts";
import { routesSchema, type Routes } from "./routes.ts";

/** The gateway's view of what the control plane last said. */
export interface RouteTable {
  /**
   * Takes routes over unless they are older than what is known. The candidate's lease counts from `confirmedAtMs`: when, on this table's clock, the leader of the
   * control plane last stood by them; null where that is not known, just now where it is left out.
   */
  receive(routes: Routes, confirmedAtMs?: number | null): "applied" | "renewed" | "ignored";
  /** `version` is still the newest, confirmed as above: renews the lease if this table has just that version. */
  confirm(agent: string, version: number, confirmedAtMs?: number | null): void;
  /** What is in force now; null when nothing was ever received. */
  effective(agent: string): EffectiveRoute | null;
  /** Newest known version, 0 when none. */
  version(agent: string): number;
  /** Resolves when everything received is on disk (or could not be written, which is logged). */
  flush(): Promise<void>;
}

const fileSchema = z.strictObject({ routes: z.array(routesSchema) });

/**
 * Reads the persisted table, if any, and keeps it up to date. Routes from disk start with the candidate at 0: whether it may still serve is known
 * only to a control plane that answers. The candidate's weight also falls to 0 when the control plane was silent for `leaseMs`.
 * `file` unset: nothing is persisted. `onLapse` hears of a lapse at the first look after it: no call was assigned in between.
 */
export async function createRouteTable(
  config: { leaseMs: number; file?: string | undefined },
  deps: { monotonicMs: () => number; log: Logger; onLapse?: (agent: string) => void },
): Promise<RouteTable> {
  const known = new Map<string, Routes>();
  for (const routes of await readPersisted(config.file, deps.log)) known.set(routes.agent, routes);
  const lease = createLease({ leaseMs: config.leaseMs }, deps);
  const persist = createPersister(config.file, deps.log);
  const noteLapse = createLapseNote(deps.log, deps.onLapse);
  observeGauge(METRIC.gatewayRouteVersion, (result) => {
    for (const [agent, { version }] of known) result.observe(version, { "nightshift.agent": agent });
  });
  observeGauge(METRIC.gatewayCandidateWeight, (result) => {
    for (const agent of known.keys()) result.observe(table.effective(agent)?.weight ?? 0, { "nightshift.agent": agent });
  });
  observeGauge(METRIC.gatewayLeaseAge, (result) => {
    for (const agent of known.keys()) result.observe(lease.ageMs(agent) / 1_000, { "nightshift.agent": agent });
  });

  const table: RouteTable = {
    receive(routes, confirmedAtMs = deps.monotonicMs()) {
      const current = known.get(routes.agent);
      if (current !== undefined && (routes.version < current.version || routes.generation < current.generation)) return "ignored";
      const isKnown = current !== undefined && routes.version === current.version && routes.generation === current.generation;
      if (confirmedAtMs !== null) lease.renew(routes.agent, confirmedAtMs);
      if (isKnown) return "renewed";
      known.set(routes.agent, routes);
      persist.write([...known.values()]);
      return "applied";
    },
    confirm(agent, version, confirmedAtMs = deps.monotonicMs()) {
      if (confirmedAtMs !== null && known.get(agent)?.version === version) lease.renew(agent, confirmedAtMs);
    },
    effective(agent) {
      const routes = known.get(agent);
      if (routes === undefined) return null;
      const { stable, candidate, experimentId, salt, version } = routes;
      const state = lease.state(agent);
      noteLapse(agent, candidate !== null && candidate.weight > 0 && state === "lapsed");
      return {
        agent,
        stable,
        candidate: candidate === null ? null : { name: candidate.name, digest: candidate.digest },
        weight: candidate !== null && state === "held" ? candidate.weight : 0,
        experimentId,
        salt,
        version,
      };
    },
    version: (agent) => known.get(agent)?.version ?? 0,
    flush: () => persist.settled(),
  };
  return table;
}

/** A lease lapses by silence: the first look that finds it lapsed says so, and the first that finds it held again is ready for the next. */
function createLapseNote(log: Logger, onLapse: ((agent: string) => void) | undefined): (agent: string, isLapsed: boolean) => void {
  const lapses = createCounter(METRIC.gatewayLeaseLapses);
  const noted = new Set<string>();
  return (agent, isLapsed) => {
    if (!isLapsed) {
      noted.delete(agent);
      return;
    }
    if (noted.has(agent)) return;
    noted.add(agent);
    lapses.add(1, { "nightshift.agent": agent });
    log.warn({ agent }, "lease lapsed, candidate is off");
    onLapse?.(agent);
  };
}

async function readPersisted(file: string | undefined, log: Logger): Promise<readonly Routes[]> {
  if (file === undefined) return [];
  try {
    return fileSchema.parse(JSON.parse(await readFile(file, "utf8"))).routes;
  } catch (cause) {
    // A lost table costs the candidate's share until the control plane answers; it must not keep the gateway from starting.
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") log.warn({ file, err: cause }, "persisted routes not readable");
    return [];
  }
}

/** One write at a time, always of the newest state: written aside, synced, renamed. */
function createPersister(file: string | undefined, log: Logger) {
  let newest: readonly Routes[] | null = null;
  let running: Promise<void> = Promise.resolve();
  async function drain(target: string): Promise<void> {
    while (newest !== null) {
      const routes = newest;
      newest = null;
      try {
        await mkdir(dirname(target), { recursive: true });
        const handle = await open(`${target}.new`, "w", 0o600);
        try {
          await handle.writeFile(JSON.stringify({ routes }));
          await handle.sync();
        } finally {
          await handle.close();
        }
        await rename(`${target}.new`, target);
      } catch (cause) {
        log.error({ file: target, err: cause }, "routes not persisted");
      }
    }
  }
  return {
    write(routes: readonly Routes[]) {
      if (file === undefined) return;
      newest = routes;
      running = running.then(() => drain(file));
    },
    settled: () => running,
  };
}
