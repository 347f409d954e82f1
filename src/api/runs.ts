import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, limitSchema, readBody, readQuery } from "./request.ts";
import { findRun, scopeOf, tenantFilter } from "./scope.ts";
import { runView } from "./views.ts";

const startSchema = z.strictObject({
  agent: z.string(),
  dryRun: z.boolean().default(false),
  forceJudge: z.boolean().default(false),
  actor: z.string().min(1).max(200).default("operator"),
});
const listSchema = z.strictObject({ agent: z.string().optional(), limit: limitSchema });

/** `POST /runs` starts a night (or says what one would do), `GET /runs`, `GET /runs/:id`. */
export function runRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.post("/runs", async (context) => {
    const { agent, dryRun, forceJudge, actor } = await readBody(context, startSchema);
    const control = agentOf(scopeOf(context, deps), agent);
    return dryRun ? context.json(await control.dryRun()) : context.json(await control.startRun({ force: forceJudge ? actor : null }), 202);
  });
  app.get("/runs", async (context) => {
    const { agent, limit } = readQuery(context, listSchema);
    const filter = { ...tenantFilter(scopeOf(context, deps)), ...(agent === undefined ? {} : { agent }) };
    return context.json({ runs: await deps.runs.list({ limit, ...filter }) });
  });
  app.get("/runs/:id", async (context) => {
    const scope = scopeOf(context, deps);
    const run = await findRun(scope, context.req.param("id"));
    if (run === null) throw nightshiftError("not_found", { what: `run ${context.req.param("id")}` });
    return context.json(await runView(run, scope));
  });
  return app;
}
