import { Hono } from "hono";
import { z } from "zod";
import type { Digest } from "../artifact/artifact-store.ts";
import { phraseIn } from "../reward/hacking/features.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import { acknowledgeAlarm, listAlarms, unknownAlarm, type Alarm } from "../training/alarms.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, limitSchema, readBody, readQuery } from "./request.ts";
import { isWithin, scopeOf, tenantFilter } from "./scope.ts";

const listQuery = z.strictObject({
  agent: z.string().optional(),
  run: z.string().optional(),
  open: z.enum(["true", "false"]).default("true"),
  limit: limitSchema,
});
const acknowledgeSchema = z.strictObject({
  actor: z.string().min(1).max(200).default("operator"),
  reason: z.string().trim().min(1).max(500),
});

export type AlarmView = Awaited<ReturnType<typeof alarmView>>;

/** `GET /alarms` and what an operator says to one. */
export function alarmRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.get("/alarms", async (context) => {
    const { agent, run, open, limit } = readQuery(context, listQuery);
    const scope = scopeOf(context, deps);
    const of = agent === undefined ? tenantFilter(scope) : { agent, tenant: agentOf(scope, agent).config.tenant };
    const alarms = await listAlarms(deps.database, { ...of, ...(run === undefined ? {} : { runId: run }), open: open === "true", limit });
    return context.json({ alarms: await Promise.all(alarms.map((alarm) => alarmView(alarm, deps))) });
  });
  app.post("/runs/:run/alarms/:alarm/acknowledgement", async (context) => {
    const { actor, reason } = await readBody(context, acknowledgeSchema);
    const { run: runId, alarm: id } = context.req.param();
    const scope = scopeOf(context, deps);
    const run = await deps.runs.get(runId);
    if (run !== null && !isWithin(scope, run)) throw unknownAlarm({ runId, id });
    const told = await acknowledgeAlarm({ runId, id, by: actor, reason }, deps);
    scope.agents.get(run?.agent ?? "")?.wake();
    return context.json(told);
  });
  return app;
}

/** With the words of its phrases, as long as the rollouts are stored that said them. */
async function alarmView(alarm: Alarm, deps: ApiDeps) {
  return { ...alarm, phrases: await Promise.all(alarm.phrases.map(async (phrase) => ({ ...phrase, words: await wordsOf(phrase, deps) }))) };
}

async function wordsOf({ hash, example }: Alarm["phrases"][number], { database, artifacts }: ApiDeps): Promise<string | null> {
  const row = await database.kysely.selectFrom("groups").select("body_digest").where("id", "=", example.groupId).executeTakeFirst();
  const body = row === undefined ? null : await artifacts.get(row.body_digest as Digest);
  const member = body === null ? undefined : decodeGroup(body).members[example.member];
  return member === undefined ? null : phraseIn(member, hash);
}
