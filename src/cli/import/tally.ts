import { nightshiftError, type NightshiftError } from "../../errors.ts";
import type { Signal } from "../../trace/wire.ts";
import type { Answer } from "./collector-client.ts";
import type { Format } from "./convert.ts";
import type { RecordProblem } from "./file-record.ts";

/** What an import has done so far. Bytes are as they lie in the files and as they went over the wire before compression. */
export interface Counts {
  files: number;
  bytesRead: number;
  records: Record<Format, number>;
  /** Records that could not be read or converted. */
  recordsBad: number;
  traces: number;
  /** True when there were too many traces to go on telling them apart: `traces` is then the least number. */
  tracesAtLeast: boolean;
  spans: number;
  logRecords: number;
  /** Spans and log records that the collector would not take. */
  refused: number;
  requests: number;
  bytesSent: number;
}

export interface Tally {
  readonly counts: Counts;
  read(bytes: number): void;
  converted(format: Format, traceIds: readonly string[]): void;
  /** Tells the operator about a record, the first few times. Answers the error. */
  bad(file: string, at: string, problem: RecordProblem): NightshiftError;
  answered(signal: Signal, about: { answer: Answer; bytes: number; records: number; place: string }): void;
}

/** A file of a million bad lines says so once. */
const SHOWN_PROBLEMS = 20;
/** 16 hex digits in a set: some 40 MB. */
const MAX_TRACES = 500_000;

export function createTally(err: (text: string) => void): Tally {
  const counts: Counts = {
    files: 0,
    bytesRead: 0,
    records: { otlp: 0, langfuse: 0, openai: 0 },
    recordsBad: 0,
    traces: 0,
    tracesAtLeast: false,
    spans: 0,
    logRecords: 0,
    refused: 0,
    requests: 0,
    bytesSent: 0,
  };
  const traces = new Set<string>();
  let shown = 0;
  const show = (text: string, fix: string): void => {
    if (++shown <= SHOWN_PROBLEMS) err(`${text}\n  fix: ${fix}`);
    if (shown === SHOWN_PROBLEMS) err("further problems are counted, not shown");
  };
  return {
    counts,
    read: (bytes) => void (counts.bytesRead += bytes),
    converted(format, traceIds) {
      counts.records[format]++;
      for (const id of traceIds) {
        if (traces.size < MAX_TRACES) traces.add(id.slice(0, 16));
        else counts.tracesAtLeast = true;
      }
      counts.traces = traces.size;
    },
    bad(file, at, problem) {
      counts.recordsBad++;
      const error = errorOf(file, at, problem);
      show(error.message, error.fix);
      return error;
    },
    answered(signal, { answer, bytes, records, place }) {
      counts.requests++;
      counts.bytesSent += bytes;
      const refused = answer.status === "refused" ? records : Math.min(answer.rejected, records);
      counts.refused += refused;
      counts[signal === "traces" ? "spans" : "logRecords"] += records - refused;
      if (refused > 0) {
        const what = `${refused} of ${records} ${signal === "traces" ? "spans" : "log records"}`;
        show(
          `${place}: the collector refused ${what}: ${answer.problem}`,
          "Correct these records, or raise collector.maxBodyBytes where they are too large.",
        );
      }
    },
  };
}

function errorOf(file: string, at: string, problem: RecordProblem): NightshiftError {
  const place = { file, at };
  if (problem.code === "import_record_too_large") {
    return nightshiftError(problem.code, { ...place, bytes: problem.bytes, maxBytes: problem.maxBytes });
  }
  if (problem.code === "import_record_unreadable") return nightshiftError(problem.code, { ...place, problem: problem.problem });
  return nightshiftError(problem.code, { ...place, problem: problem.problem, received: problem.received });
}
