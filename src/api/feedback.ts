import { Hono } from "hono";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import { holdErasures } from "../store/erased-sources.ts";
import { messageSchema } from "../trace/message.ts";
import { redactText, Unredactable } from "../trace/redact.ts";
import { FEEDBACK_TARGETS, recordFeedback, type Feedback, type FeedbackValue } from "../trajectory/feedback.ts";
import type { ApiDeps } from "./control.ts";
import { agentOf, readBody } from "./request.ts";
import { scopeOf } from "./scope.ts";

const MAX_DEMONSTRATION_CHARACTERS = 262_144;

const demonstrationSchema = z
  .strictObject({ demonstration: z.array(messageSchema).min(1).max(200) })
  .refine((value) => JSON.stringify(value).length <= MAX_DEMONSTRATION_CHARACTERS, {
    error: `a demonstration has at most ${MAX_DEMONSTRATION_CHARACTERS} characters of JSON`,
  })
  .refine(({ demonstration }) => demonstration.at(-1)?.role === "assistant", {
    error: "a demonstration ends with the assistant's message",
  });

const VALUE = 'a boolean, a number, a text or {"demonstration": [{"role": …, "parts": [{"type": "text", "content": …}]}, …]}';

const itemSchema = z.strictObject({
  target: z.strictObject({ kind: z.enum(FEEDBACK_TARGETS), id: z.string().min(1).max(500) }),
  name: z.string().min(1).max(100),
  source: z.string().min(1).max(100).default("api"),
  value: z.union([z.boolean(), z.number(), z.string().max(16_384), demonstrationSchema], { error: `not ${VALUE}` }),
  explanation: z.string().max(16_384).optional(),
  atMs: z.number().min(0).max(8_640_000_000_000_000).optional(),
});
type Item = z.infer<typeof itemSchema>;
const feedbackSchema = z.strictObject({ agent: z.string(), items: z.array(itemSchema).min(1).max(1_000) });

/**
 * `POST /feedback`: what somebody says of conversations, traces, spans, answers or subjects. Late by days is fine; the last write wins per (target, name,
 * source). Texts are redacted like telemetry, so that a customer's key finds the pseudonym that spans were stored with.
 */
export function feedbackRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  app.post("/feedback", async (context) => {
    const { agent, items } = await readBody(context, feedbackSchema);
    const { tenant } = agentOf(scopeOf(context, deps), agent).config;
    const { key } = deps.redactionKey(tenant);
    const now = deps.now();
    const feedback: Feedback[] = [];
    for (const item of items) feedback.push({ tenant, ...(await redacted(item, key)), atMs: Math.round(item.atMs ?? now) });
    await deps.database.transaction(
      async (trx) => {
        await holdErasures(trx);
        await recordFeedback(trx, feedback);
      },
      { isolation: "read committed" },
    );
    return context.json({ recorded: items.length }, 202);
  });
  return app;
}

async function redacted({ target, name, source, value, explanation }: Item, key: Uint8Array): Promise<Omit<Feedback, "tenant" | "atMs">> {
  try {
    return {
      targetKind: target.kind,
      target: await redactedTarget(target, key),
      name,
      source: await redactText(source, key),
      value: await redactedValue(value, key),
      ...(explanation === undefined ? {} : { explanation: await redactText(explanation, key) }),
    };
  } catch (cause) {
    if (!(cause instanceof Unredactable)) throw cause;
    throw nightshiftError("request_invalid", { problem: `the text of ${JSON.stringify(name)} ${cause.message}` }, { cause });
  }
}

/** Ids of traces, spans and conversations are numbers to redaction; keys that people gave are text. */
function redactedTarget({ kind, id }: Item["target"], key: Uint8Array): Promise<string> | string {
  const isOurs = kind === "trace" || kind === "span" || (kind === "conversation" && /^[0-9a-f]{32}$/.test(id));
  return isOurs ? id : redactText(id, key);
}

async function redactedValue(value: FeedbackValue, key: Uint8Array): Promise<FeedbackValue> {
  if (typeof value === "string") return redactText(value, key);
  if (typeof value !== "object") return value;
  return JSON.parse(await redactText(JSON.stringify(value), key)) as FeedbackValue;
}
