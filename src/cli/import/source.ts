import { type FileHandle, open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { nightshiftError } from "../../errors.ts";
import { inflateZstd, isZstd } from "./zstd-frames.ts";

/** A file that is being read. */
export interface Source {
  /** Last change of the file, milliseconds since the epoch: the time of what says none itself. */
  modifiedMs: number;
  /** Its content, decompressed. */
  chunks: AsyncIterable<Uint8Array>;
}

/**
 * Opens a file; gzip and zstd are told by their first bytes, whatever the file is called. Nothing is held but what is being read.
 * `counted` hears of the bytes as they lie on disk. @throws NightshiftError `import_file_unreadable`, also while it is read
 */
export async function openSource(file: string, counted: (bytes: number) => void, signal: AbortSignal): Promise<Source> {
  const handle = await open(file).catch((cause: unknown) => {
    throw unreadable(file, cause);
  });
  const about = await handle.stat();
  if (!about.isDirectory()) return { modifiedMs: Math.floor(about.mtimeMs), chunks: readChunks(file, handle, counted, signal) };
  await handle.close();
  throw nightshiftError("import_file_unreadable", { file, problem: "it is a directory" });
}

/** The handle is closed when this has ended, so it must be begun. */
async function* readChunks(
  file: string,
  handle: FileHandle,
  counted: (bytes: number) => void,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  try {
    yield* inflated(handle.createReadStream({ highWaterMark: 256 * 1024, autoClose: false }), counted, signal);
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw unreadable(file, cause);
  } finally {
    await handle.close();
  }
}

async function* inflated(stream: Readable, counted: (bytes: number) => void, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const raw = count(stream, counted, signal);
  const first = await raw.next();
  if (first.done === true) return;
  const all = (async function* () {
    yield first.value;
    yield* raw;
  })();
  if (isZstd(first.value)) yield* inflateZstd(all);
  else if (first.value[0] === 0x1f && first.value[1] === 0x8b) yield* inflateGzip(all);
  else yield* all;
}

/** Node reads on through the members of a gzip file. */
async function* inflateGzip(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const decompress = createGunzip();
  const done = pipeline(chunks, decompress);
  // The loop below throws the same error; without a handler of its own the promise would count as unhandled.
  done.catch(() => undefined);
  for await (const chunk of decompress) yield chunk as Uint8Array;
  await done;
}

async function* count(stream: Readable, counted: (bytes: number) => void, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) {
    signal.throwIfAborted();
    counted((chunk as Uint8Array).length);
    yield chunk as Uint8Array;
  }
}

function unreadable(file: string, cause: unknown): Error {
  const { code, message } = cause as NodeJS.ErrnoException;
  return nightshiftError("import_file_unreadable", { file, problem: code ?? message }, { cause });
}
