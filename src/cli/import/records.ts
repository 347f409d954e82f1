import { zstdDecompressSync } from "node:zlib";
import { type ByteReader, createByteReader } from "./byte-reader.ts";
import type { FileRecord } from "./file-record.ts";
import { readLines, readValues } from "./json-values.ts";
import { isZstd } from "./zstd-frames.ts";

/** More than any first line's blanks, and less than anybody notices. */
const HEAD_BYTES = 4_096;

/**
 * The records of a file, whatever holds them: JSON lines, JSON values over several lines, the elements of an array, requests behind a length of four bytes (the
 * Collector's file exporter; each may be compressed), or one protobuf request, resource by resource. At most one record of `maxBytes` is held.
 */
export async function* recordsOf(chunks: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<FileRecord> {
  const reader = createByteReader(chunks);
  try {
    yield* readAny(reader, maxBytes);
  } finally {
    // A file that is none of ours is left at its beginning: unless told, it would stay open.
    await reader.close();
  }
}

async function* readAny(reader: ByteReader, maxBytes: number): AsyncGenerator<FileRecord> {
  const marked = await reader.peek(3);
  if (marked[0] === 0xef && marked[1] === 0xbb && marked[2] === 0xbf) await reader.take(3);
  const head = await reader.peek(HEAD_BYTES);
  if (head.length === 0) return;
  const first = head.find((byte) => byte > 0x20);
  if ((first === 0x7b || first === 0x5b) && isText(head)) yield* readJson(reader, first, maxBytes);
  else if ((head[0] ?? 0xff) * 2 ** 24 <= maxBytes && head.length >= 4 && isMessage(head.subarray(4)))
    yield* readPrefixed(reader, maxBytes);
  else if (head[0] === 0x0a && !isText(head)) yield* readGroups(reader, maxBytes);
  else yield broken("1", isText(head) ? "it is text, but no JSON" : "it is neither JSON nor OTLP protobuf");
}

async function* readJson(reader: ByteReader, first: number, maxBytes: number): AsyncGenerator<FileRecord> {
  if (first === 0x5b || !(await isLines(reader, maxBytes))) yield* readValues(reader, maxBytes);
  else yield* readLines(reader, maxBytes);
}

/** Lines, when the first one is a whole value or the second begins another: a value over several lines is indented there. */
async function isLines(reader: ByteReader, maxBytes: number): Promise<boolean> {
  const line = await peekLine(reader, maxBytes);
  if (line === null || isJson(line)) return true;
  const next = (await reader.peek(line.length + HEAD_BYTES)).subarray(line.length);
  const begin = next.find((byte) => byte !== 0x0a && byte !== 0x0d);
  return begin === undefined || begin === 0x7b;
}

/** The first line that is not blank, with what lies before it and the break behind it; null where it has no end within `maxBytes`. */
async function peekLine(reader: ByteReader, maxBytes: number): Promise<Uint8Array | null> {
  for (let length = 64 * 1024; ; length *= 4) {
    const bytes = await reader.peek(length);
    const begin = bytes.findIndex((byte) => byte > 0x20);
    const end = begin === -1 ? -1 : bytes.indexOf(0x0a, begin);
    if (end !== -1) return bytes.subarray(0, end + 1);
    if (bytes.length < length || length > maxBytes) return null;
  }
}

/** The file exporter's protobuf form, and its compressed ones: four bytes of length (big-endian), then that much of a message. */
async function* readPrefixed(reader: ByteReader, maxBytes: number): AsyncGenerator<FileRecord> {
  for (let number = 1; ; number++) {
    const at = `message ${number}`;
    const prefix = await reader.take(4);
    if (prefix.length === 0) return;
    const length = prefix.length < 4 ? 0 : Buffer.from(prefix).readUInt32BE(0);
    if (length > maxBytes) {
      yield { kind: "broken", at, problem: { code: "import_record_too_large", bytes: length, maxBytes } };
      if ((await reader.skip(length)) === length) continue;
      return;
    }
    const bytes = await reader.take(length);
    if (prefix.length < 4 || bytes.length < length) {
      yield broken(at, "the file ends in the middle of it");
      return;
    }
    yield messageOf(at, bytes, maxBytes);
  }
}

function messageOf(at: string, bytes: Uint8Array, maxBytes: number): FileRecord {
  let plain = bytes;
  if (isZstd(bytes)) {
    try {
      plain = zstdDecompressSync(bytes, { maxOutputLength: maxBytes });
    } catch (cause) {
      const tooLarge = (cause as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE";
      if (tooLarge) return { kind: "broken", at, problem: { code: "import_record_too_large", bytes: maxBytes + 1, maxBytes } };
      return broken(at, "its zstd frame is damaged");
    }
  }
  return { kind: plain[0] === 0x7b ? "json" : "protobuf", at, bytes: plain };
}

/** A protobuf request is a row of ResourceSpans or ResourceLogs: each is a request of its own, so that the file may be larger than memory. */
async function* readGroups(reader: ByteReader, maxBytes: number): AsyncGenerator<FileRecord> {
  for (let number = 1; ; number++) {
    const at = `resource ${number}`;
    const head = await reader.peek(6);
    if (head.length === 0) return;
    if (head[0] !== 0x0a) {
      yield broken(at, "it is no field of an OTLP request");
      return;
    }
    let length = 0;
    let size = 1;
    for (let more = true; more; size++) {
      const byte = head[size];
      if (byte === undefined) {
        yield broken(at, "its length is cut off");
        return;
      }
      length += (byte & 0x7f) * 128 ** (size - 1);
      more = byte >= 0x80;
    }
    if (length > maxBytes) {
      yield { kind: "broken", at, problem: { code: "import_record_too_large", bytes: length, maxBytes } };
      if ((await reader.skip(size + length)) === size + length) continue;
      return;
    }
    const bytes = await reader.take(size + length);
    if (bytes.length < size + length) {
      yield broken(at, "the file ends in the middle of it");
      return;
    }
    yield { kind: "protobuf", at, bytes };
  }
}

function broken(at: string, problem: string): FileRecord {
  return { kind: "broken", at, problem: { code: "import_record_unreadable", problem } };
}

/** What a message of the file exporter begins with; an empty one is an empty request. */
function isMessage(bytes: Uint8Array): boolean {
  return bytes.length === 0 || bytes[0] === 0x0a || bytes[0] === 0x7b || bytes[0] === 0 || isZstd(bytes);
}

/** No control characters but blanks: a protobuf message has some within its first few fields. */
function isText(head: Uint8Array): boolean {
  return head.every((byte) => byte >= 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d);
}

function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(Buffer.from(bytes).toString("utf8"));
    return true;
  } catch {
    return false;
  }
}
