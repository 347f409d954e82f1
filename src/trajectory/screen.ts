import { type Kysely, sql } from "kysely";
import { holdErasures } from "../store/erased-sources.ts";
import type { Tables } from "../store/tables.ts";
import type { LogEvent, Span } from "../trace/span.ts";
import { conversationId, keyOf } from "./conversation-key.ts";
import { requestErasure } from "./erasure-log.ts";
import { subjectsIn } from "./subject-key.ts";
import { bury, tombstonesAmong, type Buried, type TombstoneHash } from "./tombstones.ts";

type TelemetryRecord = Span | LogEvent;

/**
 * Says which of a request's records must not be stored, because they are of somebody who was erased: records of a buried trace or conversation always, for each of
 * its later calls tells the whole conversation again; records that name a buried subject if they were received, or begin, before the erasure. A person who comes back later is
 * somebody new. What such a record betrays of its trace is buried with it, and what is stored of that trace is to be erased.
 *
 * Inside the transaction that stores, which no erasure can begin beside from here on.
 */
export async function screenErased(
  trx: Kysely<Tables>,
  { tenant, hash: hashOf, receivedAtMs, nowMs }: { tenant: string; hash: TombstoneHash; receivedAtMs: number; nowMs: number },
  records: readonly TelemetryRecord[],
): Promise<ReadonlySet<TelemetryRecord>> {
  await holdErasures(trx);
  const namesOf = new Map(records.map((record) => [record, namesIn(tenant, record)]));
  // The records of a request name a few traces and conversations over and over.
  const hash = remembering(hashOf);
  const hashes = new Set([...namesOf.values()].flatMap(({ stories, subjects }) => [...stories, ...subjects]).map(hash));
  const buriedAt = await tombstonesAmong(trx, tenant, [...hashes]);
  if (buriedAt.size === 0) return new Set();
  const betrayed = new Set<string>();
  const named = new Set<string>();
  const isOld = (record: TelemetryRecord, subject: Buried): boolean => {
    const atMs = buriedAt.get(hash(subject));
    return atMs !== undefined && (receivedAtMs <= atMs || beganAtMs(record) <= atMs);
  };
  for (const [record, { stories, subjects }] of namesOf) {
    if (!subjects.some((subject) => isOld(record, subject))) continue;
    if (record.traceId !== null) betrayed.add(record.traceId);
    for (const { kind, id } of stories) if (kind === "conversation") named.add(id);
  }
  if (betrayed.size > 0 || named.size > 0) {
    await eraseLate(trx, { tenant, hash, nowMs }, { traceIds: [...betrayed], conversationIds: [...named] });
  }
  const isRefused = (record: TelemetryRecord): boolean => {
    const { stories, subjects } = namesOf.get(record) ?? { stories: [], subjects: [] };
    const isBetrayed = record.traceId !== null && betrayed.has(record.traceId);
    return isBetrayed || stories.some((story) => buriedAt.has(hash(story))) || subjects.some((subject) => isOld(record, subject));
  };
  return new Set(records.filter(isRefused));
}

function remembering(hash: TombstoneHash): TombstoneHash {
  const known = new Map<string, string>();
  return (buried) => {
    const key = `${buried.kind}\0${buried.id}`;
    const found = known.get(key) ?? hash(buried);
    known.set(key, found);
    return found;
  };
}

function namesIn(tenant: string, record: TelemetryRecord): { stories: Buried[]; subjects: Buried[] } {
  const key = keyOf(record);
  const stories: Buried[] = [
    ...(record.traceId === null ? [] : [{ kind: "trace" as const, id: record.traceId }]),
    ...(key === null ? [] : [{ kind: "conversation" as const, id: conversationId(tenant, key) }]),
  ];
  return { stories, subjects: subjectsIn(record).map((id) => ({ kind: "subject", id })) };
}

function beganAtMs(record: TelemetryRecord): number {
  return Number(("startNs" in record ? record.startNs : record.timeNs) / 1_000_000n);
}

/** Pieces of these traces and conversations may have come before the one that names the subject. */
async function eraseLate(
  trx: Kysely<Tables>,
  { tenant, hash, nowMs }: { tenant: string; hash: TombstoneHash; nowMs: number },
  late: { traceIds: readonly string[]; conversationIds: readonly string[] },
): Promise<void> {
  await bury(trx, { tenant, hash, atMs: nowMs }, [
    ...late.traceIds.map((id): Buried => ({ kind: "trace", id })),
    ...late.conversationIds.map((id): Buried => ({ kind: "conversation", id })),
  ]);
  const { rows } = await sql<{ id: string }>`
    select conversation_id as id from conversation_traces where tenant = ${tenant} and trace_id = any(${late.traceIds}::text[])
    union select f.conversation_id from former_conversations f where f.tenant = ${tenant} and f.trace_id = any(${late.traceIds}::text[])
      and not exists (select 1 from conversation_traces o where o.conversation_id = f.conversation_id)
    union select id from conversations where tenant = ${tenant} and id = any(${late.conversationIds}::text[])`.execute(trx);
  const conversationIds = rows.map(({ id }) => id);
  if (conversationIds.length === 0) return;
  await requestErasure(trx, { tenant, nowMs, conversationIds });
}
