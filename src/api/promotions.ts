import { Hono } from "hono";
import { z } from "zod";
import { operatorActions } from "../promotion/evidence.ts";
import { createExperimentStore, type ExperimentStore } from "../promotion/experiment-store.ts";
import { recordDisturbance } from "../promotion/disturbed.ts";
import type { WatchedRoutes } from "../promotion/route-watch.ts";
import { disturbanceSchema } from "../serving/disturbance.ts";
import { HEADER } from "../telemetry.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, readBody, readQuery } from "./request.ts";
import { experimentOf, scopeOf } from "./scope.ts";
import { requireTouch } from "./touch.ts";
import { experimentView } from "./views.ts";

const actSchema = z.strictObject({ action: z.enum(operatorActions), actor: z.string().min(1).max(200).default("operator") });
const routesQuery = z.strictObject({
  agent: z.string(),
  version: z.coerce.number().int().min(0).default(0),
  waitMs: z.coerce.number().int().min(0).max(30_000).default(0),
});

/** Experiments with their numbers and log, the operator's actions, and the routes that gateways long-poll. */
export function promotionRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  const store = createExperimentStore(deps);
  app.get("/experiments", async (context) => {
    const { agent } = readQuery(context, z.strictObject({ agent: z.string() }));
    const experiments = await store.list(agentOf(scopeOf(context, deps), agent).agent);
    return context.json({
      experiments: experiments.map(({ id, state, candidate, createdAtMs, endedAtMs, conclusion }) => ({
        id,
        state,
        candidate,
        createdAtMs,
        endedAtMs,
        conclusion,
      })),
    });
  });
  app.get("/experiments/:id", async (context) => {
    const scope = scopeOf(context, deps);
    return context.json(await experimentView(await experimentOf(scope, context.req.param("id")), scope));
  });
  app.get("/experiments/:id/evidence", async (context) => {
    const { id } = await experimentOf(scopeOf(context, deps), context.req.param("id"));
    return context.json({ evidence: await store.evidence(id, 0) });
  });
  app.post("/experiments/:id/actions", async (context) => {
    const { action, actor } = await readBody(context, actSchema);
    const { id, agent } = await experimentOf(scopeOf(context, deps), context.req.param("id"), "experiment_unknown");
    await store.act(id, action, actor);
    if (action === "rollback") await takeOut(id, agent, store, deps);
    deps.agents.get(agent)?.wake();
    return context.json({ status: "recorded" }, 202);
  });
  // Asks whatever splits the agent's traffic, which may be another system: what `/status` shows is what the database knows.
  app.get("/traffic", async (context) => {
    const { agent } = readQuery(context, z.strictObject({ agent: z.string() }));
    const routes = await deps.traffic.routes(agentOf(scopeOf(context, deps), agent).agent);
    const { stable = null, candidate = null } = routes ?? {};
    return context.json({ agent, stable, candidate });
  });
  app.get("/routes", async (context) => {
    // The next poll may reach another replica: this one could be the only one that is cut off.
    context.header("connection", "close");
    requireTouch(deps);
    const arrivedAtMs = deps.monotonicMs();
    const { agent, version, waitMs } = readQuery(context, routesQuery);
    const known = await newerRoutes(deps, agentOf(scopeOf(context, deps), agent).agent, version, waitMs, context.req.raw.signal);
    if (known !== null && known.confirmedAtMs !== null) context.header(HEADER.confirmed, (known.confirmedAtMs - arrivedAtMs).toFixed(0));
    return known === null || known.routes.version <= version ? context.body(null, 204) : context.json(known.routes);
  });
  app.post("/disturbances", async (context) => {
    const { agent, cause, agoMs } = await readBody(context, disturbanceSchema);
    const recorded = await recordDisturbance(
      { agent: agentOf(scopeOf(context, deps), agent).agent, cause, atMs: Math.round(deps.now() - agoMs) },
      store,
    );
    return context.json(recorded, 202);
  });
  return app;
}

/**
 * Ends a candidate's traffic before the leader comes to it, and where none leads. What is recorded ends the experiment at the leader's next turn whatever happens here: a turn
 * that has not read the record cannot set routes any more.
 */
async function takeOut(experimentId: string, agent: string, store: ExperimentStore, { traffic, log }: ApiDeps): Promise<void> {
  try {
    const experiment = await store.get(experimentId);
    if (experiment !== null) await traffic.withhold(agent, { experimentId, generation: experiment.generation });
  } catch (error) {
    log.warn({ err: error, promotion_id: experimentId, agent }, "routes cannot be set now; the leader takes the candidate out");
  }
}

/** Routes as this replica knows them, once they are newer than `version`, or after `waitMs` as they are then; null while there are none. */
async function newerRoutes(
  { watch }: ApiDeps,
  agent: string,
  version: number,
  waitMs: number,
  signal: AbortSignal,
): Promise<WatchedRoutes | null> {
  const isNewer = (): boolean => (watch.current(agent)?.routes.version ?? 0) > version;
  if (!isNewer() && waitMs > 0) {
    const over = Promise.withResolvers<null>();
    const unsubscribe = watch.subscribe(() => {
      if (isNewer()) over.resolve(null);
    });
    const timer = setTimeout(() => over.resolve(null), waitMs);
    signal.addEventListener("abort", () => over.resolve(null), { once: true });
    await over.promise;
    clearTimeout(timer);
    unsubscribe();
  }
  return watch.current(agent);
}
