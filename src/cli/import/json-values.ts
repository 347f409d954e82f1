import type { ByteReader } from "./byte-reader.ts";
import type { FileRecord } from "./file-record.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const NEWLINE = 0x0a;

/** Bytes of one value that is being collected; a value over the limit is followed to its end, but no longer held. */
interface Collector {
  add(piece: Uint8Array): void;
  take(): { bytes: Uint8Array; size: number };
}

/** One JSON value per line. A line that is broken costs only itself. */
export async function* readLines(reader: ByteReader, maxBytes: number): AsyncGenerator<FileRecord> {
  const line = collect(maxBytes);
  let number = 1;
  for (let chunk = await reader.next(); chunk !== null; chunk = await reader.next()) {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      line.add(chunk.subarray(from, end));
      yield* whole(line, number++, maxBytes);
      from = end + 1;
    }
    line.add(chunk.subarray(from));
  }
  yield* whole(line, number, maxBytes);
}

/**
 * JSON values one after the other, over any number of lines; of an array at the top its elements. Only brackets and strings are looked at, which is all that
 * it takes to see where a value ends: the array may be larger than memory.
 */
export async function* readValues(reader: ByteReader, maxBytes: number): AsyncGenerator<FileRecord> {
  const state = { depth: 0, floor: 0, inString: false, escaped: false, line: 1, startLine: 1, open: false };
  const value = collect(maxBytes);
  for (let chunk = await reader.next(); chunk !== null; chunk = await reader.next()) {
    let from = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (byte === NEWLINE) state.line++;
      const step = stepOf(state, byte);
      if (step === "begin") {
        from = at;
        state.startLine = state.line;
      } else if (step === "end") {
        value.add(chunk.subarray(from, at + 1));
        yield* whole(value, state.startLine, maxBytes);
      }
    }
    if (state.open) value.add(chunk.subarray(from));
  }
  if (state.open) yield* whole(value, state.startLine, maxBytes);
}

type State = { depth: number; floor: number; inString: boolean; escaped: boolean; open: boolean };

/** Where `byte` leads: whether a value begins or ends with it. `floor` is 1 inside an array at the top. */
function stepOf(state: State, byte: number): "begin" | "end" | null {
  if (state.inString) {
    if (state.escaped) state.escaped = false;
    else if (byte === BACKSLASH) state.escaped = true;
    else if (byte === QUOTE) state.inString = false;
    return null;
  }
  const opens = byte === 0x7b || byte === 0x5b;
  if (!state.open) {
    if (byte <= 0x20 || byte === 0x2c) return null;
    if (byte === 0x5b && state.floor === 0) state.floor = 1;
    else if (byte === 0x5d && state.floor === 1) state.floor = 0;
    else {
      state.open = true;
      if (opens) state.depth++;
      if (byte === QUOTE) state.inString = true;
      return "begin";
    }
    return null;
  }
  if (byte === QUOTE) state.inString = true;
  else if (opens) state.depth++;
  else if (byte === 0x7d || byte === 0x5d) state.depth--;
  // A bare word or number has no bracket: it ends with its line or at the next comma.
  const isOver = state.depth < 0 || (state.depth === 0 && (byte === 0x7d || byte === 0x5d || byte === 0x2c || byte === NEWLINE));
  if (!isOver) return null;
  state.depth = 0;
  state.open = false;
  return "end";
}

function collect(maxBytes: number): Collector {
  let pieces: Uint8Array[] = [];
  let size = 0;
  return {
    add(piece) {
      size += piece.length;
      if (size <= maxBytes) pieces.push(piece);
      else pieces = [];
    },
    take() {
      const taken = { bytes: pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces), size };
      pieces = [];
      size = 0;
      return taken;
    },
  };
}

function* whole(collector: Collector, line: number, maxBytes: number): Generator<FileRecord> {
  const { bytes, size } = collector.take();
  const at = String(line);
  if (size > maxBytes) yield { kind: "broken", at, problem: { code: "import_record_too_large", bytes: size, maxBytes } };
  else if (bytes.some((byte) => byte > 0x20)) yield { kind: "json", at, bytes };
}
