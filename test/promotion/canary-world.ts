import { silentLog } from "../../src/log.ts";
import type { CanaryUnit } from "../../src/promotion/canary.ts";
import { createPromotionController, type PromotionController, type ReconcileResult } from "../../src/promotion/controller.ts";
import { createExperimentStore, type Experiment, type ExperimentStore, type Submission } from "../../src/promotion/experiment-store.ts";
import { createGatewayRouter, type GatewayRouter } from "../../src/promotion/gateway-router.ts";
import type { Database } from "../../src/store/database.ts";
import { mulberry, QUICKSTART } from "../bench/canary/simulate.ts";

export const BASE = { name: "base-tiny", digest: "sha256:base" };
const PASSED = { decision: "pass" } as Submission["gate"];

/** One agent's small production: a router, keys that arrive one by one, and outcomes that come a while later. Deterministic by seed. */
export interface CanaryWorld {
  agent: string;
  store: ExperimentStore;
  router: GatewayRouter;
  units: CanaryUnit[];
  clock: { nowMs: number };
  /** Replica → attested, or "new" where it has said nothing yet. Writable by the test. */
  replicas: Map<string, boolean | "new">;
  success: Record<"stable" | "candidate", number>;
  /** A controller with nothing in memory, as after a restart. `database` replaces the store's, to inject faults. */
  controller(database?: Database): PromotionController;
  submit(id: string, change?: Partial<Submission>): Promise<Experiment>;
  /** `n` new keys under the routes in force. */
  traffic(n: number, change?: (unit: CanaryUnit) => CanaryUnit): Promise<void>;
  /** Traffic and reconciles in turns until nothing is live, at most `rounds` times. */
  run(controller: PromotionController, rounds?: number): Promise<ReconcileResult>;
}

export async function canaryWorld(database: Database, options: { agent: string; seed: number }): Promise<CanaryWorld> {
  const { agent } = options;
  const random = mulberry(options.seed);
  const clock = { nowMs: 1_000_000 };
  const now = () => clock.nowMs;
  const router = createGatewayRouter({ database, log: silentLog() });
  const store = createExperimentStore({ database, now });
  const units: CanaryUnit[] = [];
  const experimentOf = new Map<string, string | null>();
  const replicas = new Map<string, boolean | "new">([["replica-1", true]]);
  const success = { stable: 0.5, candidate: 0.8 };
  await router.setRoutes({ agent, model: agent, version: 1, generation: 0, stable: BASE, candidate: null, experimentId: null, salt: null });

  const world: CanaryWorld = {
    ...{ agent, store, router, units, clock, replicas, success },
    controller: (other = database) =>
      createPromotionController({
        database: other,
        router: createGatewayRouter({ database: other, log: silentLog() }),
        attestations: {
          replicas: async () =>
            [...replicas].map(([replica, said]) => ({ replica, attested: said === true, ...(said === "new" ? { isNew: true } : {}) })),
        },
        units: {
          load: async ({ experimentId, sinceMs, nowMs }) => {
            const isOurs = (unit: CanaryUnit) => (experimentOf.get(unit.trajectoryId) ?? experimentId) === experimentId;
            const seen = units.filter((unit) => isOurs(unit) && unit.assignedAtMs >= sinceMs && unit.endedAtMs <= nowMs);
            return { units: seen, settledBeforeMs: nowMs };
          },
        },
        log: silentLog(),
        now,
      }),
    submit: (id, change = {}) =>
      store.submit({
        ...{ id, tenant: "default", agent, model: agent, runId: null, stable: BASE, salt: id, canary: QUICKSTART, horizonMs: 60_000 },
        candidate: { name: `${agent}-${id}`, digest: `sha256:${id}` },
        gate: PASSED,
        automatic: true,
        ...change,
      }),
    async traffic(n, change = (unit) => unit) {
      const routes = await router.routes(agent);
      const p = routes?.candidate?.weight ?? 0;
      for (let i = 0; i < n; i++) {
        clock.nowMs += 1000;
        const arm = random() < p ? "candidate" : "stable";
        const name = `${agent}-${units.length}`;
        experimentOf.set(name, routes?.experimentId ?? null);
        units.push(
          change({
            ...{ key: name, arm, p, routeVersion: routes?.version ?? 0, assignedAtMs: clock.nowMs, endedAtMs: clock.nowMs + 400 },
            trajectoryId: name,
            outcome: random() < success[arm] ? 1 : 0,
            errors: {},
          }),
        );
      }
      clock.nowMs += 1000;
    },
    async run(controller, rounds = 80) {
      let result = await controller.reconcile(agent);
      for (let round = 0; round < rounds && result.status !== "idle"; round++) {
        await world.traffic(5);
        result = await controller.reconcile(agent);
      }
      return result;
    },
  };
  return world;
}
