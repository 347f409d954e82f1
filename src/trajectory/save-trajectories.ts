import { createHash, hash } from "node:crypto";
import { type Insertable, type Kysely, sql } from "kysely";
import { packed } from "../store/packed.ts";
import { insertable } from "../store/rows.ts";
import { indexableText, storableJson, storableText } from "../store/storable.ts";
import type { Tables } from "../store/tables.ts";
import type { Message, Part } from "../trace/message.ts";
import { canonicalJson } from "./canonical-arguments.ts";
import type { Trajectory, Verdict } from "./trajectory.ts";

export type Judged = Omit<Trajectory, "version" | "contentHash">;

/**
 * Saves what conversations now consist of, all of them with everything they have. A trajectory whose content is new becomes its next version and older ones are
 * superseded; with the same content the row only takes over what else changed (verdict, timings). What is no longer part of its conversation is superseded.
 * Resolves to the new versions. Call it inside a transaction.
 */
export async function saveTrajectories(
  trx: Kysely<Tables>,
  conversationIds: readonly string[],
  judged: readonly Judged[],
): Promise<Trajectory[]> {
  if (conversationIds.length === 0) return [];
  const latest = await latestVersions(trx, conversationIds);
  const created: Trajectory[] = [];
  const unchanged: Trajectory[] = [];
  for (const draft of judged) {
    const contentHash = contentHashOf(draft);
    const known = latest.get(draft.id);
    const same = known !== undefined && known.contentHash === contentHash;
    const version = same ? known.version : (known?.version ?? 0) + 1;
    (same ? unchanged : created).push({ ...draft, version, contentHash });
  }
  await supersede(trx, conversationIds, unchanged);
  const stored = createStoredForms();
  await insertMessages(trx, created, stored);
  for (const rows of insertable(created.map((trajectory) => rowOf(trajectory, stored))))
    await trx.insertInto("trajectories").values(rows).execute();
  for (const trajectory of unchanged) {
    // The messages that were stored for it are its own still, though one may be written in another order now.
    const { id, version, message_hashes: _, ...columns } = rowOf(trajectory, stored);
    await trx.updateTable("trajectories").set(columns).where("id", "=", id).where("version", "=", version).execute();
  }
  return created;
}

/** A message as it is stored. */
interface StoredMessage {
  /** Its address in its tenant: equal texts of two tenants stay two rows, or one could learn that the other has it. */
  hash: string;
  body: string;
}

type StoredForms = (tenant: string, message: Message) => StoredMessage;

/** Each message is written as JSON and hashed once, though rows of trajectories name what rows of messages hold. */
function createStoredForms(): StoredForms {
  const known = new Map<Message, StoredMessage>();
  return (tenant, message) => {
    const found = known.get(message);
    if (found !== undefined) return found;
    const body = storableJson(message);
    const form = { hash: hash("sha256", `${tenant}\n${body}`), body };
    known.set(message, form);
    return form;
  };
}

/** What a trajectory teaches. Times, ids of spans and the verdict are no part of it. */
function contentHashOf({ messages, tools, model }: Judged): string {
  const content = createHash("sha256").update(canonicalJson({ tools, model }));
  for (const { parts, ...message } of messages) {
    content.update(`\n${canonicalJson(message)}`);
    // A text by itself: nearly all bytes are texts, and of objects each is copied and looked through letter by letter.
    for (const part of parts) content.update(`\n${isText(part) ? `text ${canonicalJson(part.content)}` : canonicalJson(part)}`);
  }
  return content.digest("hex");
}

function isText(part: Part): part is Part & { content: string } {
  return part.type === "text" && typeof part["content"] === "string" && Object.keys(part).length === 2;
}

async function latestVersions(trx: Kysely<Tables>, conversationIds: readonly string[]) {
  const rows = await trx
    .selectFrom("trajectories")
    .select(["id", "version", "content_hash"])
    .where("conversation_id", "in", conversationIds)
    .orderBy("version")
    .execute();
  return new Map(rows.map((row) => [row.id, { version: row.version, contentHash: row.content_hash }]));
}

async function supersede(trx: Kysely<Tables>, conversationIds: readonly string[], kept: readonly Trajectory[]): Promise<void> {
  const keptRefs = new Set(kept.map(({ id, version }) => `${id}@${version}`));
  const live = await trx
    .selectFrom("trajectories")
    .select(["id", "version"])
    .where("conversation_id", "in", conversationIds)
    .where("superseded", "=", false)
    .execute();
  for (const { id, version } of live.filter((row) => !keptRefs.has(`${row.id}@${row.version}`))) {
    await trx.updateTable("trajectories").set({ superseded: true }).where("id", "=", id).where("version", "=", version).execute();
  }
}

async function insertMessages(trx: Kysely<Tables>, trajectories: readonly Trajectory[], stored: StoredForms): Promise<void> {
  const bodies = new Map<string, StoredMessage>();
  for (const { tenant, messages } of trajectories) {
    for (const message of messages) {
      const form = stored(tenant, message);
      bodies.set(form.hash, form);
    }
  }
  const all = [...bodies.values()]
    .toSorted((a, b) => (a.hash < b.hash ? -1 : 1))
    .map(({ hash, body }) => ({ hash, raw: Buffer.from(body) }));
  for (const { rows, bytes, starts, sizes } of packed(all)) {
    const hashes = rows.map(({ hash }) => hash);
    await sql`
      insert into messages (hash, body)
      select hash, convert_from(substring(${bytes}::bytea from start for size), 'UTF8')::json
      from unnest(${hashes}::text[], ${starts}::int[], ${sizes}::int[]) as m(hash, start, size)
      on conflict do nothing`.execute(trx);
  }
}

function rowOf(trajectory: Trajectory, stored: StoredForms): Insertable<Tables["trajectories"]> {
  const { messages, ...body } = trajectory;
  return {
    id: trajectory.id,
    version: trajectory.version,
    conversation_id: trajectory.conversationId,
    conversation_key: storableText(trajectory.conversationKey),
    tenant: trajectory.tenant,
    agent: trajectory.agent,
    subject: trajectory.subject === null ? null : indexableText(trajectory.subject),
    started_at_ms: trajectory.startedAtMs,
    ended_at_ms: trajectory.endedAtMs,
    adapter_digest: trajectory.adapterDigest === null ? null : indexableText(trajectory.adapterDigest),
    experiment_id: trajectory.assignment?.experimentId ? indexableText(trajectory.assignment.experimentId) : null,
    content_hash: trajectory.contentHash,
    message_hashes: JSON.stringify(messages.map((message) => stored(trajectory.tenant, message).hash)),
    body: storableJson(body),
    trainable: trajectory.verdict.trainable,
    reasons: JSON.stringify(trajectory.verdict.reasons satisfies Verdict["reasons"]),
    superseded: false,
  };
}

/** Marks conversations as assembled; those that got another delivery since they were read stay open and are left out of the answer, as are those that another
 * sweep has closed. */
export async function closeConversations(
  trx: Kysely<Tables>,
  read: readonly { id: string; arrivals: number; agent: string }[],
): Promise<Set<string>> {
  if (read.length === 0) return new Set();
  const closed = await sql<{ id: string }>`
    update conversations set state = 'complete', agent = seen.agent
    from unnest(${read.map(({ id }) => id)}::text[], ${read.map(({ arrivals }) => arrivals)}::bigint[], ${read.map(({ agent }) => agent)}::text[])
      as seen(id, arrivals, agent)
    where conversations.id = seen.id and conversations.arrivals = seen.arrivals and conversations.state = 'open'
    returning conversations.id`.execute(trx);
  return new Set(closed.rows.map(({ id }) => id));
}
