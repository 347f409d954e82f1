import { createHash } from "node:crypto";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { sql, type Kysely } from "kysely";
import { nightshiftError } from "../errors.ts";
import { giveBack } from "../give-back.ts";
import { FRAME_BYTES, literals, readBytes } from "../store/copied.ts";
import { packed } from "../store/packed.ts";
import type { Tables } from "../store/tables.ts";
import { SCOPE } from "../telemetry.ts";
import type { TransportRecord } from "../transport/transport.ts";
import { decodeLogs, decodeSpans, decodeStoredLog, decodeStoredSpan, withSequence, type Decoded } from "./decode.ts";
import { saidSize } from "./gzip-size.ts";
import { redactRequest } from "./redact-request.ts";
import { scanRequest } from "./scan.ts";
import type { LogEvent, Span } from "./span.ts";

export interface Captured {
  spans: Span[];
  logs: LogEvent[];
}

/** Which of a request's records must not be stored. */
export type Screen = (records: readonly (Span | LogEvent)[]) => Promise<ReadonlySet<Span | LogEvent>>;

/** A record from a foreign producer may be a bomb too. */
const MAX_INFLATED_BYTES = 256 * 1024 * 1024;
/** Room that inflating begins with. */
const LEAST_ROOM_BYTES = 16 * 1024;
const MOST_ROOM_BYTES = 8 * 1024 * 1024;
/** Without a byte more than it takes, zlib asks for another piece to be sure of the end. */
const SPARE_BYTES = 1;

/**
 * Stores one transported record: decodes it once, takes secrets and personal data out if the edge has not, leaves out Nightshift's own spans and upserts the
 * rest, but for what `screen` refuses, spans by (tenant, trace id, span id), logs by hash. Resolves to the records that are new or changed: a duplicate delivery resolves to none.
 * @throws NightshiftError `otlp_malformed` for bytes that are not OTLP
 */
export async function storeRecord(
  trx: Kysely<Tables>,
  record: TransportRecord,
  options: { redactionKey: Uint8Array; screen?: Screen },
): Promise<Captured> {
  const inflated = inflate(record);
  // The receiver has checked its own records; a topic may hold others.
  scanRequest(inflated, record.signal);
  const bytes = record.redacted ? inflated : await redactRequest(inflated, record.signal, options.redactionKey);
  // Nothing that is decoded has parts of what it was decoded from.
  const done = (): void => void (inflated === record.body || giveBack(inflated, { spare: SPARE_BYTES }));
  if (record.signal === "traces") {
    const decoded = decodeSpans(bytes);
    done();
    return { spans: await storeSpans(trx, record, await screened(decoded, options.screen)), logs: [] };
  }
  const decoded = decodeLogs(bytes);
  done();
  return { spans: [], logs: await storeLogs(trx, record, await screened(decoded, options.screen)) };
}

async function screened<T extends Span | LogEvent>(decoded: Decoded<T>[], screen: Screen | undefined): Promise<Decoded<T>[]> {
  const refused = await screen?.(decoded.map(({ value }) => value));
  return refused === undefined || refused.size === 0 ? decoded : decoded.filter(({ value }) => !refused.has(value));
}

/** All stored spans and log events of the traces, in no particular order. */
export async function loadTraces(db: Kysely<Tables>, tenant: string, traceIds: readonly string[]): Promise<Captured> {
  const { spans, logs } = await openTraces(db, tenant, traceIds);
  return { spans: [...spans], logs };
}

/** As `loadTraces`, to go through the spans once: each is decoded when it is its turn, because what lives longer than a moment costs more to collect. */
export async function openTraces(
  db: Kysely<Tables>,
  tenant: string,
  traceIds: readonly string[],
): Promise<{ spans: Iterable<Span>; logs: LogEvent[] }> {
  if (traceIds.length === 0) return { spans: [], logs: [] };
  const rawOf = (table: "spans" | "log_events") => {
    const isAsked = sql`tenant = any(${literals([tenant])}) and trace_id = any(${literals(traceIds)})`;
    return readBytes(db, sql`select raw from ${sql.table(table)} where ${isAsked}`);
  };
  const [spans, logs] = [await rawOf("spans"), await rawOf("log_events")];
  return { spans: decodeEach(spans), logs: logs.map(decodeStoredLog).filter((log) => log !== null) };
}

function* decodeEach(raws: readonly Uint8Array[]): Generator<Span, void> {
  for (const raw of raws) {
    const span = decodeStoredSpan(raw);
    giveBack(raw, { spare: FRAME_BYTES });
    if (span !== null) yield span;
  }
}

async function storeSpans(trx: Kysely<Tables>, record: TransportRecord, decoded: readonly Decoded<Span>[]): Promise<Span[]> {
  // A batch may hold a span twice (an exporter that retried half of it); one statement must not touch a row twice.
  const byId = new Map(
    decoded.filter(({ value }) => isCapture(value.scope.name)).map((item) => [spanKey(item.value.traceId, item.value.spanId), item]),
  );
  const changed: Span[] = [];
  // Ordered by id, so that two workers with the same spans never wait for each other in a circle.
  const all = [...byId].toSorted(byKey).map(([, { value, raw }]) => ({ value, raw }));
  const pieces = packed(all);
  for (const { raw } of all) giveBack(raw);
  for (const { rows, bytes, starts, sizes } of pieces) {
    const [traces, ids] = [rows.map(({ value }) => value.traceId), rows.map(({ value }) => value.spanId)];
    const stored = await sql<{ trace_id: string; span_id: string }>`
      insert into spans (tenant, trace_id, span_id, raw, received_at_ms)
      select ${record.tenant}, trace_id, span_id, substring(${bytes}::bytea from start for size), ${record.receivedAtMs}
      from unnest(${traces}::text[], ${ids}::text[], ${starts}::int[], ${sizes}::int[]) as s(trace_id, span_id, start, size)
      on conflict (tenant, trace_id, span_id) do update set raw = excluded.raw where spans.raw is distinct from excluded.raw
      returning trace_id, span_id`.execute(trx);
    giveBack(bytes);
    for (const row of stored.rows) {
      const item = byId.get(spanKey(row.trace_id, row.span_id));
      if (item !== undefined) changed.push(item.value);
    }
  }
  return changed;
}

async function storeLogs(trx: Kysely<Tables>, record: TransportRecord, decoded: readonly Decoded<LogEvent>[]): Promise<LogEvent[]> {
  const byHash = new Map<string, Decoded<LogEvent>>();
  for (const [index, item] of decoded.entries()) {
    if (!isCapture(item.value.scope.name)) continue;
    const sequence = (BigInt(record.receivedAtMs) << 20n) + BigInt(index);
    byHash.set(logHash(item, byHash), { value: { ...item.value, sequence }, raw: withSequence(item.raw, sequence) });
  }
  const fresh: LogEvent[] = [];
  const all = [...byHash].toSorted(byKey).map(([hash, { value, raw }]) => ({ hash, value, raw }));
  for (const { rows, bytes, starts, sizes } of packed(all)) {
    const [hashes, traces, spans] = [
      rows.map(({ hash }) => hash),
      rows.map(({ value }) => value.traceId),
      rows.map(({ value }) => value.spanId),
    ];
    const stored = await sql<{ hash: string }>`
      insert into log_events (tenant, hash, trace_id, span_id, raw, received_at_ms)
      select ${record.tenant}, hash, trace_id, span_id, substring(${bytes}::bytea from start for size), ${record.receivedAtMs}
      from unnest(${hashes}::text[], ${traces}::text[], ${spans}::text[], ${starts}::int[], ${sizes}::int[]) as s(hash, trace_id, span_id, start, size)
      on conflict (tenant, hash) do nothing returning hash`.execute(trx);
    for (const row of stored.rows) {
      const item = byHash.get(row.hash);
      if (item !== undefined) fresh.push(item.value);
    }
  }
  return fresh;
}

function inflate(record: TransportRecord): Uint8Array {
  const limits = { maxOutputLength: MAX_INFLATED_BYTES };
  try {
    if (record.encoding === "gzip" && record.body.length > 0)
      return gunzipSync(record.body, { ...limits, chunkSize: roomFor(record.body) });
    if (record.encoding === "zstd" && record.body.length > 0) return zstdDecompressSync(record.body, limits);
    return record.body;
  } catch (cause) {
    throw nightshiftError("otlp_malformed", { where: "record", problem: `it is not valid ${record.encoding}` }, { cause });
  }
}

/** One piece of the right size costs half of what many small ones and their copy do. */
function roomFor(gzip: Uint8Array): number {
  return Math.min(Math.max(saidSize(gzip) ?? 0, LEAST_ROOM_BYTES), MOST_ROOM_BYTES) + SPARE_BYTES;
}

/** Nightshift's own telemetry never becomes training data; the gateway's capture of live calls does. */
function isCapture(scope: string): boolean {
  return !scope.startsWith("nightshift.") || scope === SCOPE.gateway;
}

function byKey([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : 1;
}

function spanKey(traceId: string, spanId: string): string {
  return `${traceId}/${spanId}`;
}

/**
 * Over the record as it came, with its resource and scope. One call's history may hold the same message twice in the same millisecond ("yes", … "yes"):
 * the second of two equal records in a request gets a hash of its own, and a repeated delivery gives the same two.
 */
function logHash(item: Decoded<LogEvent>, taken: ReadonlyMap<string, unknown>): string {
  for (let occurrence = 0; ; occurrence++) {
    const hash = createHash("sha256").update(item.raw).update(String(occurrence)).digest("hex");
    if (!taken.has(hash)) return hash;
  }
}
