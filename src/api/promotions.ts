import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import { operatorActions } from "../promotion/evidence.ts";
import { createExperimentStore } from "../promotion/experiment-store.ts";
import type { Routes } from "../serving/routes.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, readBody, readQuery } from "./request.ts";
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
    const experiments = await store.list(agentOf(deps, agent).agent);
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
    const experiment = await store.get(context.req.param("id"));
    if (experiment === null) throw nightshiftError("not_found", { what: `experiment ${context.req.param("id")}` });
    return context.json(await experimentView(experiment, deps));
  });
  app.get("/experiments/:id/evidence", async (context) => context.json({ evidence: await store.evidence(context.req.param("id"), 0) }));
  app.post("/experiments/:id/actions", async (context) => {
    const { action, actor } = await readBody(context, actSchema);
    const id = context.req.param("id");
    await store.act(id, action, actor);
    const experiment = await store.get(id);
    deps.agents.get(experiment?.agent ?? "")?.wake();
    return context.json({ status: "recorded" }, 202);
  });
  app.get("/routes", async (context) => {
    const { agent, version, waitMs } = readQuery(context, routesQuery);
    const routes = await newerRoutes(deps, agentOf(deps, agent).agent, version, waitMs, context.req.raw.signal);
    return routes === null ? context.body(null, 204) : context.json(routes);
  });
  return app;
}

/** Routes newer than `version`, waiting up to `waitMs` for them; null when there are none. */
async function newerRoutes(deps: ApiDeps, agent: string, version: number, waitMs: number, signal: AbortSignal): Promise<Routes | null> {
  const changed = Promise.withResolvers<null>();
  // Subscribed before the read: a change between the two must not be missed.
  const unsubscribe = deps.router.subscribe((routes) => {
    if (routes.agent === agent && routes.version > version) changed.resolve(null);
  });
  const timer = setTimeout(() => changed.resolve(null), waitMs);
  signal.addEventListener("abort", () => changed.resolve(null), { once: true });
  try {
    const now = await deps.router.routes(agent);
    if (now !== null && now.version > version) return now;
    await changed.promise;
    const later = await deps.router.routes(agent);
    return later !== null && later.version > version ? later : null;
  } finally {
    clearTimeout(timer);
    unsubscribe();
  }
}
