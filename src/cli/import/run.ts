import { contentsOf, scanRequest } from "../../trace/scan.ts";
import type { Signal } from "../../trace/wire.ts";
import { NightshiftError } from "../../errors.ts";
import type { Batches, Place, Size } from "./batches.ts";
import { convert, type Converted, type Format } from "./convert.ts";
import type { FileRecord } from "./file-record.ts";
import { recordsOf } from "./records.ts";
import { openSource } from "./source.ts";
import { withOverlay, type Overlay } from "./span.ts";
import type { Counts, Tally } from "./tally.ts";
import { BadRecord } from "./values.ts";

export interface ImportOptions {
  format?: Format | undefined;
  overlay: Overlay;
  /** The time of records that say none; without it the file's last change. */
  defaultMs?: number | undefined;
  maxRecordBytes: number;
  /** The first bad record ends the import. */
  isStrict: boolean;
}

interface Deps {
  batches: Batches;
  tally: Tally;
  /** Hears of the counts after every record. */
  progress: (counts: Counts) => void;
  signal: AbortSignal;
}

/**
 * Reads the files one after the other and hands every record to `batches`. Bad records are told and counted, a file that cannot be read ends it. What was read before any end has been
 * sent when this settles, but for an abort: then what is on its way.
 * @throws NightshiftError `import_file_unreadable`, the bad record's with `isStrict`, and what the batches throw; rejects when the signal aborts
 */
export async function importFiles(files: readonly string[], options: ImportOptions, deps: Deps): Promise<void> {
  try {
    for (const file of files) await importFile(file, options, deps);
  } catch (error) {
    // What has been gathered is worth as much as what was sent before it; but the reason of the end is what the caller must hear.
    if (!deps.signal.aborted) await deps.batches.flush().catch(() => undefined);
    throw error;
  }
  await deps.batches.flush();
}

async function importFile(file: string, options: ImportOptions, deps: Deps): Promise<void> {
  const { tally, signal } = deps;
  const source = await openSource(file, (bytes) => tally.read(bytes), signal);
  tally.counts.files++;
  const defaultMs = options.defaultMs ?? source.modifiedMs;
  for await (const record of recordsOf(source.chunks, options.maxRecordBytes)) {
    signal.throwIfAborted();
    await importRecord(record, { ...options, defaultMs }, { file, at: record.at }, deps);
    deps.progress(tally.counts);
  }
}

async function importRecord(
  record: FileRecord,
  options: ImportOptions & { defaultMs: number },
  place: Place,
  { tally, batches }: Deps,
): Promise<void> {
  const read = readRecord(record, options);
  if (read instanceof BadRecord) {
    const error = tally.bad(place.file, place.at, read.problem);
    if (options.isStrict) throw error;
    return;
  }
  tally.converted(
    read.format,
    read.requests.flatMap(({ traceIds }) => traceIds),
  );
  for (const { signal, bytes, ...size } of read.requests) await batches.add(signal, bytes, size, place);
}

interface Read {
  format: Format;
  requests: ({ signal: Signal; bytes: Uint8Array; traceIds: string[] } & Size)[];
}

function readRecord(record: FileRecord, options: ImportOptions & { defaultMs: number }): Read | BadRecord {
  if (record.kind === "broken") return new BadRecord(record.problem);
  try {
    const { format, requests }: Converted = convert(record, options);
    const entries = Object.entries(requests) as [Signal, Uint8Array][];
    return {
      format,
      requests: entries.map(([signal, plain]) => {
        const bytes = withOverlay(plain, signal, options.overlay);
        const { accepted, rejected } = scanRequest(bytes, signal);
        return { signal, bytes, records: accepted + rejected, ...contentsOf(bytes, signal) };
      }),
    };
  } catch (error) {
    if (error instanceof BadRecord) return error;
    if (error instanceof NightshiftError) return new BadRecord({ code: "import_record_unreadable", problem: error.message });
    throw error;
  }
}
