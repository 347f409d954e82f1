import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import { selfReplay } from "../rollout/replay-check.ts";
import { createAttestationStore } from "../serving/attestation-store.ts";
import { feedbackOf } from "../trajectory/feedback.ts";
import { listTrajectories, loadTrajectory } from "../trajectory/trajectory-store.ts";
import { listAdapters } from "../training/adapters.ts";
import { loadGroups } from "../training/iteration.ts";
import type { ApiDeps } from "./control.ts";
import { lineageOf } from "./lineage.ts";
import { reportOf } from "./report.ts";
import { UNKNOWN_AGENT } from "../trajectory/match-agent.ts";
import { agentOf, limitSchema, readQuery, tenantOf } from "./request.ts";

const trajectoriesQuery = z.strictObject({
  agent: z.string(),
  trainable: z.enum(["true", "false"]).optional(),
  limit: limitSchema,
  cursor: z.string().optional(),
});

/** What was captured, replayed and learned: trajectories, groups, adapters, lineage, and the self-replay of one conversation. */
export function resourceRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  const db = deps.database.kysely;
  app.get("/report", async (context) => {
    const { agent, tenant } = readQuery(context, z.strictObject({ agent: z.string(), tenant: z.string().optional() }));
    // What matches no agent belongs to none, but can be looked at like one.
    const of = agent === UNKNOWN_AGENT ? tenantOf(deps, tenant) : agentOf(deps, agent).config.tenant;
    return context.json(await reportOf(db, { tenant: of, agent }));
  });
  app.get("/trajectories", async (context) => {
    const { agent, trainable, limit, cursor } = readQuery(context, trajectoriesQuery);
    const { config } = agentOf(deps, agent);
    const filter = { ...(trainable === undefined ? {} : { trainable: trainable === "true" }), ...(cursor === undefined ? {} : { cursor }) };
    return context.json(await listTrajectories(db, { tenant: config.tenant, agent, limit, ...filter }));
  });
  app.get("/trajectories/:id", async (context) => {
    const trajectory = await loadTrajectory(db, context.req.param("id"));
    if (trajectory === null) throw nightshiftError("not_found", { what: `trajectory ${context.req.param("id")}` });
    const feedback = await feedbackOf(db, trajectory.tenant, [trajectory.conversationId]);
    return context.json({ ...trajectory, feedback: feedback.get(trajectory.conversationId) ?? [] });
  });
  app.get("/groups", async (context) => {
    const { run, limit } = readQuery(context, z.strictObject({ run: z.string(), limit: limitSchema }));
    return context.json({ groups: (await loadGroups(deps.database, run)).slice(0, limit) });
  });
  app.get("/groups/:id", async (context) => {
    const id = context.req.param("id");
    const row = await db.selectFrom("groups").select("run_id").where("id", "=", id).executeTakeFirst();
    const group = row === undefined ? undefined : (await loadGroups(deps.database, row.run_id)).find((one) => one.id === id);
    const body = group === undefined ? null : await deps.artifacts.get(group.bodyDigest);
    if (group === undefined || body === null) throw nightshiftError("not_found", { what: `group ${id}` });
    return context.json({ ...group, body: decodeGroup(body) });
  });
  app.get("/adapters", async (context) => {
    const { agent, limit } = readQuery(context, z.strictObject({ agent: z.string().optional(), limit: limitSchema }));
    return context.json({ adapters: await listAdapters(deps.database, { limit, ...(agent === undefined ? {} : { agent }) }) });
  });
  app.get("/adapters/:reference", async (context) => {
    const reference = context.req.param("reference");
    const adapter = (await listAdapters(deps.database, { limit: 1_000 })).find(
      ({ name, digest }) => name === reference || digest === reference,
    );
    if (adapter === undefined) throw nightshiftError("not_found", { what: `adapter ${reference}` });
    return context.json({ ...adapter, attestations: await createAttestationStore(deps.database).list(adapter.digest) });
  });
  app.get("/replicas", async (context) => {
    const control = agentOf(deps, readQuery(context, z.strictObject({ agent: z.string() })).agent);
    return context.json({ replicas: await control.replicas() });
  });
  app.get("/lineage/:reference", async (context) => context.json(await lineageOf(context.req.param("reference"), deps)));
  app.post("/replay/:reference", async (context) => context.json(await replay(context.req.param("reference"), deps)));
  return app;
}

/** Self-replay of one conversation (key, id or trajectory id): its recorded turns through the cascade, against its own tape. */
async function replay(reference: string, deps: ApiDeps): Promise<object> {
  const row = await deps.database.kysely
    .selectFrom("trajectories")
    .select(["id", "version", "agent"])
    .where("superseded", "=", false)
    .where((eb) => eb.or([eb("id", "=", reference), eb("conversation_id", "=", reference), eb("conversation_key", "=", reference)]))
    .executeTakeFirst();
  const trajectory = row === undefined ? null : await loadTrajectory(deps.database.kysely, row.id, row.version);
  if (trajectory === null) throw nightshiftError("not_found", { what: `conversation ${reference}` });
  const control = agentOf(deps, trajectory.agent);
  if (!trajectory.verdict.trainable) return { trajectoryId: trajectory.id, status: "not_trainable", reasons: trajectory.verdict.reasons };
  const recordings = await control.recordings();
  const { split } = recordings.walls.placeOf(trajectory);
  return {
    trajectoryId: trajectory.id,
    status: "replayed",
    split,
    messages: trajectory.messages,
    ...selfReplay(trajectory, recordings.cascade(split)),
  };
}
