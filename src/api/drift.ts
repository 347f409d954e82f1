import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import { checkDrift } from "../rollout/drift-check.ts";
import type { ToolDrift } from "../rollout/measure/drift.ts";
import type { ApiDeps } from "./control.ts";
import { answerInLines } from "./json-lines.ts";
import { agentOf, readBody } from "./request.ts";
import { scopeOf } from "./scope.ts";

const driftSchema = z.strictObject({
  agent: z.string(),
  perTool: z.int().min(1).max(1_000).default(100),
  seed: z.int().min(0).max(1_000_000).default(1),
});

export interface DriftReport {
  agent: string;
  /** Share of changed answers above which a recording is not to be served: `replay.maxWrongShare`. */
  maxWrongShare: number;
  tools: ToolDrift[];
}

/** `POST /drift` asks the live world for recorded answers again. Nothing of them is kept. */
export function driftRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.post("/drift", async (context) => {
    const { agent, perTool, seed } = await readBody(context, driftSchema);
    const control = agentOf(scopeOf(context, deps), agent);
    const { liveReads: config, maxWrongShare } = control.config.replay;
    const { liveReads } = control;
    if (config === undefined || liveReads === null)
      throw nightshiftError("drift_unmeasurable", { agent, problem: `agents.${agent}.replay.liveReads is not configured` });
    const isRead = (tool: string): boolean => control.config.tools[tool]?.class === "read";
    if (!Object.keys(config.tools).some(isRead))
      throw nightshiftError("drift_unmeasurable", { agent, problem: "no tool on the list of live reads has the configured class read" });
    return answerInLines(
      context,
      { what: "drift check" },
      async ({ signal, progress }) => {
        const recordings = await control.recordings();
        const asked = { tools: config.tools, maxWrongShare, perTool, seed, nowMs: deps.now(), signal, progress };
        const tools = await checkDrift(recordings, liveReads, asked);
        const drifting = tools.filter(({ verdict }) => verdict === "drifts").map(({ tool }) => tool);
        deps.log.info({ agent, tools: tools.length, drifting }, "drift checked");
        return { event: "checked" as const, report: { agent, maxWrongShare, tools } };
      },
      deps,
    );
  });
  return app;
}
