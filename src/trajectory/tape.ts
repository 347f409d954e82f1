/** One recorded tool call with its answer. A tape is the event log of one trajectory version. */
export interface TapeEntry {
  tool: string;
  /** Hash of tool + canonical arguments, clocks and nonces left out. */
  callKey: string;
  /** RFC 8785 canonical JSON of the arguments: schema defaults dropped, coerced by schema, trimmed, NFC. */
  argumentsCanonical: string;
  argumentsRaw: unknown;
  /** Hash of the tool's name and argument schema as the conversation knew them. */
  schemaHash: string;
  /** The answer as the agent's next request carried it, with the tenant's pseudonyms (names.ts) in place of the conversation's numbers. */
  result: string;
  isError: boolean;
  /** The answer looks cut off: the agent saw it so, but nothing is concluded from it. */
  damaged: boolean;
  startedAtMs: number;
  latencyMs: number;
  traceId: string;
  spanId: string;
  /** Assistant turn that made the call, from 0, and its place among that turn's parallel calls. */
  turn: number;
  parallelIndex: number;
  /** Entities by arguments and by result; `*` is the whole state. Sorted. */
  entitiesTouched: readonly string[];
  /** Paths of key arguments whose value nobody in the conversation had said before the call, no answer either: the agent came up with it. */
  unheard: readonly string[];
  /** What a successful write adds to the state; null for reads, failed writes and tools without state. */
  writeKey: string | null;
  /** Hash of the ordered successful writes on this tape before this call. */
  writePrefix: string;
  /** Per touched entity: hash of the writes to it, on this tape, before this call. */
  entityVersion: Readonly<Record<string, string>>;
  /**
   * Per touched entity: how many successful writes to it any tape of the tenant recorded before this call; −1 where a write of another
   * conversation overlapped the call, so that nobody can say.
   */
  entityEra: Readonly<Record<string, number>>;
  /** Set when a parallel call of the same turn wrote what this one touches (or the other way round): the turn's set of calls, as a hash. */
  raced: string | null;
}

/** Tapes belong to one trajectory version. `split` and `tenant` are walls: a held-out tape never answers training. */
export interface Tape {
  id: string;
  /** What is counted of tools counts conversations: the branches of one are no independent witnesses. */
  conversationId: string;
  trajectoryId: string;
  trajectoryVersion: number;
  tenant: string;
  agent: string;
  split: "train" | "held_out";
  toolsetHash: string;
  recordedAtMs: number;
  entries: readonly TapeEntry[];
}
