import type { Kysely } from "kysely";
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
  { tenant, hash, receivedAtMs, nowMs }: { tenant: string; hash: TombstoneHash; receivedAtMs: number; nowMs: number },
  records: readonly TelemetryRecord[],
): Promise<ReadonlySet<TelemetryRecord>> {
  await holdErasures(trx);
  const namesOf = new Map(records.map((record) => [record, namesIn(tenant, record)]));
  const hashes = [...new Set([...namesOf.values()].flatMap(({ stories, subjects }) => [...stories, ...subjects]).map(hash))];
  const buriedAt = await tombstonesAmong(trx, tenant, hashes);
  if (buriedAt.size === 0) return new Set();
  const betrayed = new Set<string>();
  const isOld = (record: TelemetryRecord, subject: Buried): boolean => {
    const atMs = buriedAt.get(hash(subject));
    return atMs !== undefined && (receivedAtMs <= atMs || beganAtMs(record) <= atMs);
  };
  for (const [record, { subjects }] of namesOf) {
    if (record.traceId !== null && subjects.some((subject) => isOld(record, subject))) betrayed.add(record.traceId);
  }
  if (betrayed.size > 0) await eraseLate(trx, { tenant, hash, nowMs }, [...betrayed]);
  const isRefused = (record: TelemetryRecord): boolean => {
    const { stories, subjects } = namesOf.get(record) ?? { stories: [], subjects: [] };
    const isBetrayed = record.traceId !== null && betrayed.has(record.traceId);
    return isBetrayed || stories.some((story) => buriedAt.has(hash(story))) || subjects.some((subject) => isOld(record, subject));
  };
  return new Set(records.filter(isRefused));
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

/** Pieces of these traces may have come before the one that names the subject. */
async function eraseLate(
  trx: Kysely<Tables>,
  { tenant, hash, nowMs }: { tenant: string; hash: TombstoneHash; nowMs: number },
  traceIds: readonly string[],
): Promise<void> {
  await bury(
    trx,
    { tenant, hash, atMs: nowMs },
    traceIds.map((id) => ({ kind: "trace", id })),
  );
  const rows = await trx
    .selectFrom("conversation_traces")
    .select("conversation_id")
    .where("tenant", "=", tenant)
    .where("trace_id", "in", traceIds)
    .execute();
  const conversationIds = [...new Set(rows.map((row) => row.conversation_id))];
  if (conversationIds.length === 0) return;
  await requestErasure(trx, { tenant, nowMs, conversationIds });
}
