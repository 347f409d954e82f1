/** One recorded tool call with its answer. A tape is the event log of one trajectory version. */
export interface TapeEntry {
  tool: string;
  /** Hash of tool + canonical arguments. */
  callKey: string;
  /** RFC 8785 canonical JSON of the arguments: schema defaults dropped, coerced by schema, trimmed, NFC. */
  argumentsCanonical: string;
  argumentsRaw: unknown;
  /** The answer exactly as the agent's next request carried it. */
  result: string;
  isError: boolean;
  startedAtMs: number;
  latencyMs: number;
  traceId: string;
  spanId: string;
  /** Assistant turn that made the call, from 0, and its place among that turn's parallel calls. */
  turn: number;
  parallelIndex: number;
  entitiesTouched: readonly string[];
  /** Hash of the ordered successful writes on this tape before this call. */
  writePrefix: string;
  /** Per touched entity: hash of the writes to it, on this tape, before this call. */
  entityVersion: Readonly<Record<string, string>>;
  /** Per touched entity: how many successful writes to it any tape of the tenant recorded before this call. */
  entityEra: Readonly<Record<string, number>>;
}

/** Tapes belong to one trajectory version. `split` and `tenant` are walls: a held-out tape never answers training. */
export interface Tape {
  id: string;
  trajectoryId: string;
  trajectoryVersion: number;
  tenant: string;
  agent: string;
  split: "train" | "held_out";
  toolsetHash: string;
  recordedAtMs: number;
  entries: readonly TapeEntry[];
}
