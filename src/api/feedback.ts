import { Hono } from "hono";
import { z } from "zod";
import { recordFeedback } from "../trajectory/feedback.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, readBody } from "./request.ts";

const itemSchema = z.strictObject({
  target: z.strictObject({ kind: z.enum(["conversation", "trace", "span", "response"]), id: z.string().min(1).max(500) }),
  name: z.string().min(1).max(100),
  source: z.string().min(1).max(100).default("api"),
  value: z.union([z.boolean(), z.number(), z.string().max(16_384)]),
  explanation: z.string().max(16_384).optional(),
  atMs: z.number().optional(),
});
const feedbackSchema = z.strictObject({ agent: z.string(), items: z.array(itemSchema).min(1).max(1_000) });

/** `POST /feedback`: what somebody says of conversations, traces, spans or answers. Late by days is fine; the last write wins per (target, name, source). */
export function feedbackRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.post("/feedback", async (context) => {
    const { agent, items } = await readBody(context, feedbackSchema);
    const { config } = agentOf(deps, agent);
    const now = deps.now();
    await recordFeedback(
      deps.database.kysely,
      items.map(({ target, name, source, value, explanation, atMs }) => ({
        tenant: config.tenant,
        targetKind: target.kind,
        target: target.id,
        name,
        source,
        value,
        ...(explanation === undefined ? {} : { explanation }),
        atMs: atMs ?? now,
      })),
    );
    return context.json({ recorded: items.length }, 202);
  });
  return app;
}
