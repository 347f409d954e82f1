import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import type { AskedRun } from "../training/begin-once.ts";
import { cancelRun, type Run } from "../training/run-store.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, limitSchema, readBody, readQuery } from "./request.ts";
import { findRun, scopeOf, tenantFilter } from "./scope.ts";
import { runView } from "./views.ts";

const startSchema = z.strictObject({
  agent: z.string(),
  dryRun: z.boolean().default(false),
  forceJudge: z.boolean().default(false),
  /** Whoever asks again with the same one is told of the run that began for it. */
  key: z.string().min(1).max(200).optional(),
  actor: z.string().min(1).max(200).default("operator"),
});
const cancelSchema = z.strictObject({ actor: z.string().min(1).max(200).default("operator") });
const listSchema = z.strictObject({ agent: z.string().optional(), limit: limitSchema });

export interface StartedRun extends AskedRun {
  /** Runs, of whatever agent, that must end before it begins. */
  before: number;
}

export interface ListedRun extends Run {
  /** Runs, of whatever agent, that must end before it begins. */
  before: number;
}

/** `POST /runs` starts a night (or says what one would do, or which began for its key), `GET /runs`, `GET /runs/:id`; `POST /runs/:id/cancellation` ends one. */
export function runRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.post("/runs", async (context) => {
    const { agent, dryRun, forceJudge, key = null, actor } = await readBody(context, startSchema);
    const control = agentOf(scopeOf(context, deps), agent);
    if (dryRun) return context.json(await control.dryRun());
    const asked = await control.startRun({ force: forceJudge ? actor : null, key });
    return context.json(await startedRun(asked, deps), asked.isNew ? 202 : 200);
  });
  app.get("/runs", async (context) => {
    const { agent, limit } = readQuery(context, listSchema);
    const filter = { ...tenantFilter(scopeOf(context, deps)), ...(agent === undefined ? {} : { agent }) };
    const runs = await deps.runs.list({ limit, ...filter });
    return context.json({ runs: await Promise.all(runs.map((run) => withQueue(run, deps))) });
  });
  app.get("/runs/:id", async (context) => {
    const scope = scopeOf(context, deps);
    const run = await findRun(scope, context.req.param("id"));
    if (run === null) throw nightshiftError("not_found", { what: `run ${context.req.param("id")}` });
    return context.json(await runView(run, scope));
  });
  app.post("/runs/:id/cancellation", async (context) => {
    const { actor } = await readBody(context, cancelSchema);
    const scope = scopeOf(context, deps);
    const run = await findRun(scope, context.req.param("id"));
    if (run === null) throw nightshiftError("not_found", { what: `run ${context.req.param("id")}` });
    const state = await cancelRun({ id: run.id, actor }, deps);
    // Whichever agent's run waited behind it.
    for (const agent of deps.agents.values()) agent.wake();
    return context.json({ state });
  });
  return app;
}

/** What whoever asked for a run is told of it. */
export async function startedRun(asked: AskedRun, { queue }: ApiDeps): Promise<StartedRun> {
  return { ...asked, before: await queue.before(asked.runId) };
}

async function withQueue(run: Run, { queue }: ApiDeps): Promise<ListedRun> {
  return { ...run, before: run.state === "running" ? await queue.before(run.id) : 0 };
}
