import { Hono } from "hono";
import { z } from "zod";
import type { BootstrapDryRun } from "../training/bootstrap-plan.ts";
import type { ApiDeps } from "./control.ts";
import { answerInLines, type ErrorEvent } from "./json-lines.ts";
import { agentOf, readBody } from "./request.ts";

const bodySchema = z.strictObject({
  agent: z.string(),
  tasks: z.int().min(2).max(512).optional(),
  systemPrompt: z.string().max(32_768).optional(),
  dryRun: z.boolean().default(false),
  forceJudge: z.boolean().default(false),
  actor: z.string().min(1).max(200).default("operator"),
});

/** One line of the answer to a dry run. */
export type BootstrapEvent = { event: "progress"; done: number; total: number } | { event: "planned"; plan: BootstrapDryRun } | ErrorEvent;

/** An LLM may think for minutes; whoever waits for the next line is told that somebody is there. */
const TELL_EVERY_MS = 10_000;

/** `POST /bootstrap` starts a run against the agent's sandbox, or makes its tasks up and says them, in JSON lines while it works. */
export function bootstrapRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.post("/bootstrap", async (context) => {
    const { agent, dryRun, forceJudge, actor, ...wish } = await readBody(context, bodySchema);
    const control = agentOf(deps, agent);
    if (!dryRun) {
      const started = await control.bootstrap.start({ ...wish, force: forceJudge ? actor : null });
      control.wake();
      return context.json(started, 202);
    }
    return answerInLines<BootstrapEvent>(context, deps, "dry run", async (tell, signal) => {
      let [done, total] = [0, 0];
      const telling = setInterval(() => void tell({ event: "progress", done, total }), TELL_EVERY_MS);
      const progress = (...now: [number, number]): void => {
        [done, total] = now;
        void tell({ event: "progress", done, total });
      };
      try {
        await tell({ event: "planned", plan: await control.bootstrap.dryRun({ ...wish, signal, progress }) });
      } finally {
        clearInterval(telling);
      }
    });
  });
  return app;
}
