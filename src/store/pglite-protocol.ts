/** What the main thread asks of the database worker. The worker answers in order, one answer per request. */
export type PgliteRequest =
  | { id: number; kind: "open"; dir: string | null }
  | { id: number; kind: "query"; sql: string; parameters: readonly unknown[] }
  | { id: number; kind: "close" };

export type PgliteAnswer =
  | { id: number; status: "done"; rows: readonly unknown[]; affectedRows: number; command: string }
  /** `fatal`: Postgres itself stopped, the worker can answer nothing more. */
  | { id: number; status: "failed"; message: string; code: string | null; constraint: string | null; fatal: boolean };
