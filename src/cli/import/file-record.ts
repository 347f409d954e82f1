/** One record of a file as it lies there. `at` says where: a line, or what stands for one in a binary file. */
export type FileRecord =
  | { kind: "json" | "protobuf"; at: string; bytes: Uint8Array }
  | { kind: "broken"; at: string; problem: RecordProblem };

/** Why a record cannot be imported: an error of the table without the place, which its reader adds. */
export type RecordProblem =
  | { code: "import_record_too_large"; bytes: number; maxBytes: number }
  | { code: "import_record_unreadable"; problem: string }
  | { code: "import_record_invalid"; problem: string; received: string };
