import { Hono } from "hono";
import { z } from "zod";
import type { ApiDeps } from "./control.ts";
import { answerInLines } from "./json-lines.ts";
import { agentOf, readBody } from "./request.ts";
import { startedRun } from "./runs.ts";
import { scopeOf } from "./scope.ts";

const bodySchema = z.strictObject({
  agent: z.string(),
  tasks: z.int().min(2).max(512).optional(),
  systemPrompt: z.string().max(32_768).optional(),
  dryRun: z.boolean().default(false),
  forceJudge: z.boolean().default(false),
  actor: z.string().min(1).max(200).default("operator"),
});

/** `POST /bootstrap` starts a run against the agent's sandbox, or makes its tasks up and says them, in JSON lines while it works. */
export function bootstrapRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.post("/bootstrap", async (context) => {
    const { agent, dryRun, forceJudge, actor, ...wish } = await readBody(context, bodySchema);
    const control = agentOf(scopeOf(context, deps), agent);
    if (!dryRun) {
      const started = await control.bootstrap.start({ ...wish, force: forceJudge ? actor : null });
      control.wake();
      return context.json(await startedRun({ ...started, isNew: true }, deps), 202);
    }
    return answerInLines(
      context,
      { what: "dry run" },
      async (work) => ({ event: "planned" as const, plan: await control.bootstrap.dryRun({ ...wish, ...work }) }),
      deps,
    );
  });
  return app;
}
