import { PbfReader } from "pbf";
import type { AttributeValue } from "./span.ts";

/** Keys that would reach an object's prototype when data is copied around later. They name nothing in any dialect: refused. */
const REFUSED_KEYS: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** Whether `key` may become a property of a decoded object. */
export function isSafeKey(key: string): boolean {
  return !REFUSED_KEYS.has(key);
}

/** A reader of a message whose texts `readText` reads. */
export function readerOf(bytes: Uint8Array): PbfReader {
  return new PbfReader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}

/** Reads a string. pbf's way makes an object of every text for a TextDecoder; most texts are short, and there are thousands in a request. */
export function readText(pbf: PbfReader): string {
  const end = pbf.readVarint() + pbf.pos;
  const text = (pbf.buf as Buffer).toString("utf8", pbf.pos, end);
  pbf.pos = end;
  // As a TextDecoder has it.
  return text.charCodeAt(0) === BYTE_ORDER_MARK ? text.slice(1) : text;
}

const BYTE_ORDER_MARK = 0xfeff;

/** Reads one KeyValue at the reader's position into `target`; a later duplicate wins, an unsafe key is left out. */
export function readAttributeInto(target: Record<string, AttributeValue>, pbf: PbfReader): void {
  const pair = pbf.readMessage(readKeyValue, { key: "", value: null as AttributeValue });
  if (isSafeKey(pair.key)) target[pair.key] = pair.value;
}

/** Reads an AnyValue message at the reader's position. */
export function readAnyValue(pbf: PbfReader): AttributeValue {
  return pbf.readMessage(readValueField, { value: null as AttributeValue }).value;
}

/** Reads a fixed64 without losing the low bits of a nanosecond time. */
export function readTime(pbf: PbfReader): bigint {
  const value = pbf.dataView.getBigUint64(pbf.pos, true);
  pbf.pos += 8;
  return value;
}

function readKeyValue(tag: number, pair: { key: string; value: AttributeValue }, pbf: PbfReader): void {
  if (tag === 1) pair.key = readText(pbf);
  else if (tag === 2) pair.value = readAnyValue(pbf);
}

function readValueField(tag: number, into: { value: AttributeValue }, pbf: PbfReader): void {
  if (tag === 1) into.value = readText(pbf);
  else if (tag === 2) into.value = pbf.readBoolean();
  else if (tag === 3) into.value = readInt64(pbf);
  else if (tag === 4) into.value = pbf.readDouble();
  else if (tag === 5) into.value = pbf.readMessage(readArrayItem, [] as AttributeValue[]);
  else if (tag === 6) into.value = pbf.readMessage(readListItem, {});
  else if (tag === 7) into.value = new Uint8Array(pbf.readBytes());
}

function readArrayItem(tag: number, items: AttributeValue[], pbf: PbfReader): void {
  if (tag === 1) items.push(readAnyValue(pbf));
}

function readListItem(tag: number, target: Record<string, AttributeValue>, pbf: PbfReader): void {
  if (tag === 1) readAttributeInto(target, pbf);
}

/** pbf reads varints as doubles: values beyond 2^53 are read again, exactly. */
function readInt64(pbf: PbfReader): number | bigint {
  const start = pbf.pos;
  const value = pbf.readVarint(true);
  if (Number.isSafeInteger(value)) return value;
  let exact = 0n;
  for (let index = start; index < pbf.pos; index++) exact |= BigInt((pbf.buf[index] ?? 0) & 0x7f) << BigInt(7 * (index - start));
  return BigInt.asIntN(64, exact);
}
