import { Hono } from "hono";
import { z } from "zod";
import { indexableText } from "../store/storable.ts";
import { redactText, Unredactable } from "../trace/redact.ts";
import { listErasures } from "../trajectory/erasure-log.ts";
import { heldOf } from "../trajectory/held.ts";
import { conversationsOf, sharedAmong } from "../trajectory/subject-conversations.ts";
import { tombstoneHash } from "../trajectory/tombstones.ts";
import { createEraser } from "../training/eraser.ts";
import { learnedFrom } from "../training/learned.ts";
import type { ApiDeps } from "./control.ts";
import { readQuery, tenantOf } from "./request.ts";
import { scopeOf } from "./scope.ts";

/** What is known of a subject. */
export type SubjectView = Awaited<ReturnType<typeof subjectView>>;

const querySchema = z.strictObject({ tenant: z.string().optional() });
const eraseQuery = z.strictObject({ tenant: z.string().optional(), actor: z.string().min(1).max(200).default("operator") });

/** `GET /subjects/:key`: what is held of a customer, and which adapters learned from it. `DELETE /subjects/:key` erases it. */
export function subjectRoutes(deps: ApiDeps): Hono {
  const app = new Hono();
  const eraser = createEraser(deps);
  app.get("/subjects/:key", async (context) => {
    const tenant = tenantOf(scopeOf(context, deps), readQuery(context, querySchema).tenant);
    return context.json(await subjectView(tenant, context.req.param("key"), deps));
  });
  app.delete("/subjects/:key", async (context) => {
    const { tenant: named, actor } = readQuery(context, eraseQuery);
    const scope = scopeOf(context, deps);
    const tenant = tenantOf(scope, named);
    const { subjects, isWholeKey } = await spellingsOf(tenant, context.req.param("key"), deps);
    const report = await eraser.erase({ tenant, subjects, actor });
    for (const agent of scope.agents.values()) agent.wake();
    return context.json({ ...report, isWholeKey }, report.state === "started" ? 202 : 200);
  });
  return app;
}

async function subjectView(tenant: string, key: string, deps: ApiDeps) {
  const db = deps.database.kysely;
  const { subjects, isWholeKey } = await spellingsOf(tenant, key, deps);
  const conversationIds = await conversationsOf(db, tenant, subjects);
  const hash = await tombstoneHash(db, tenant);
  const hashes = subjects.map((id) => hash({ kind: "subject", id }));
  const erasures = await listErasures(db, { tenant, subjectHashes: hashes });
  return {
    tenant,
    subjectHash: hashes[0] ?? "",
    isWholeKey,
    held: await heldOf(db, { tenant, subjects, conversationIds }),
    sharedConversations: await sharedAmong(db, { tenant, subjects, conversationIds }),
    ...(await learnedFrom({ tenant, conversationIds, learned: [] }, deps)),
    erasures: erasures.map(({ id, state, startedAtMs, finishedAtMs, actor, work }) => ({
      ...{ id, state, startedAtMs, finishedAtMs, actor },
      removed: work.removed,
    })),
  };
}

/**
 * The key as it may be stored: as it is, and as redaction wrote it. `isWholeKey` is false where only the redaction key would tell the latter and this process has
 * not got it.
 */
async function spellingsOf(tenant: string, key: string, deps: ApiDeps): Promise<{ subjects: string[]; isWholeKey: boolean }> {
  const { key: redactionKey, isShared } = deps.redactionKey(tenant);
  try {
    const redacted = await redactText(key, redactionKey);
    const spellings = isShared ? [key, redacted] : [key];
    return { subjects: [...new Set(spellings.map((text) => indexableText(text.trim())))], isWholeKey: isShared || redacted === key };
  } catch (cause) {
    if (!(cause instanceof Unredactable)) throw cause;
    return { subjects: [indexableText(key.trim())], isWholeKey: true };
  }
}
