import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import { createAttestationStore } from "../serving/attestation-store.ts";
import { feedbackOf } from "../trajectory/feedback.ts";
import { listTrajectories } from "../trajectory/trajectory-store.ts";
import { findAdapterNamed, listAdapters } from "../training/adapters.ts";
import { loadGroups } from "../training/iteration.ts";
import type { ApiDeps } from "./control.ts";
import { lineageOf } from "./lineage.ts";
import { reportOf } from "./report.ts";
import { UNKNOWN_AGENT } from "../trajectory/match-agent.ts";
import { toolView, toolViews } from "./tools.ts";
import { replicasOf } from "./replicas.ts";
import { agentOf, limitSchema, readQuery, tenantOf } from "./request.ts";
import { findGroup, findTrajectory, isWithin, findRun, scopeOf, tenantFilter } from "./scope.ts";

const trajectoriesQuery = z.strictObject({
  agent: z.string(),
  trainable: z.enum(["true", "false"]).optional(),
  limit: limitSchema,
  cursor: z.string().optional(),
});

/** What was captured, replayed and learned: trajectories, groups, adapters, lineage. */
export function resourceRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  const db = deps.database.kysely;
  app.get("/report", async (context) => {
    const { agent, tenant } = readQuery(context, z.strictObject({ agent: z.string(), tenant: z.string().optional() }));
    // What matches no agent belongs to none, but can be looked at like one.
    const scope = scopeOf(context, deps);
    const of = agent === UNKNOWN_AGENT ? tenantOf(scope, tenant) : agentOf(scope, agent).config.tenant;
    return context.json(await reportOf(db, { tenant: of, agent }));
  });
  app.get("/trajectories", async (context) => {
    const { agent, trainable, limit, cursor } = readQuery(context, trajectoriesQuery);
    const { config } = agentOf(scopeOf(context, deps), agent);
    const filter = { ...(trainable === undefined ? {} : { trainable: trainable === "true" }), ...(cursor === undefined ? {} : { cursor }) };
    return context.json(await listTrajectories(db, { tenant: config.tenant, agent, limit, ...filter }));
  });
  app.get("/trajectories/:id", async (context) => {
    const trajectory = await findTrajectory(scopeOf(context, deps), context.req.param("id"));
    if (trajectory === null) throw nightshiftError("not_found", { what: `trajectory ${context.req.param("id")}` });
    const feedback = await feedbackOf(db, trajectory.tenant, [trajectory.conversationId]);
    return context.json({ ...trajectory, feedback: feedback.get(trajectory.conversationId) ?? [] });
  });
  app.get("/groups", async (context) => {
    const { run, limit } = readQuery(context, z.strictObject({ run: z.string(), limit: limitSchema }));
    const scope = scopeOf(context, deps);
    const isInReach = scope.tenant === null || (await findRun(scope, run)) !== null;
    return context.json({ groups: isInReach ? (await loadGroups(deps.database, run)).slice(0, limit) : [] });
  });
  app.get("/groups/:id", async (context) => {
    const id = context.req.param("id");
    const group = await findGroup(scopeOf(context, deps), id);
    const body = group === null ? null : await deps.artifacts.get(group.bodyDigest);
    if (group === null || body === null) throw nightshiftError("not_found", { what: `group ${id}` });
    return context.json({ ...group, body: decodeGroup(body) });
  });
  app.get("/tools", async (context) => {
    const { agent, tool } = readQuery(context, z.strictObject({ agent: z.string(), tool: z.string().optional() }));
    const control = agentOf(scopeOf(context, deps), agent);
    return context.json(tool === undefined ? { tools: await toolViews(control) } : await toolView(control, tool));
  });
  app.get("/adapters", async (context) => {
    const { agent, limit } = readQuery(context, z.strictObject({ agent: z.string().optional(), limit: limitSchema }));
    const filter = { ...tenantFilter(scopeOf(context, deps)), ...(agent === undefined ? {} : { agent }) };
    return context.json({ adapters: await listAdapters(deps.database, { limit, ...filter }) });
  });
  app.get("/adapters/:reference", async (context) => {
    const reference = context.req.param("reference");
    const adapter = await findAdapterNamed(deps.database, reference);
    if (adapter === null || !isWithin(scopeOf(context, deps), adapter.manifest))
      throw nightshiftError("not_found", { what: `adapter ${reference}` });
    return context.json({ ...adapter, attestations: await createAttestationStore(deps.database).list(adapter.digest) });
  });
  app.get("/replicas", async (context) => {
    const scope = scopeOf(context, deps);
    const control = agentOf(scope, readQuery(context, z.strictObject({ agent: z.string() })).agent);
    return context.json({ replicas: await replicasOf(control, scope) });
  });
  app.get("/lineage/:reference", async (context) => context.json(await lineageOf(context.req.param("reference"), scopeOf(context, deps))));
  return app;
}
