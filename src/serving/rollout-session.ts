/** One model call of a rollout as sampled: exact ids, and processed logprobs, one per completion token. */
export interface RolloutCall {
  promptTokenIds: readonly number[];
  completionTokenIds: readonly number[];
  logprobs: readonly number[];
  /** stop | length | tool_calls */
  finishReason: string;
  adapterDigest: string;
  sampling: RolloutSampling & { seed: number };
}

export interface RolloutSampling {
  temperature: number;
  topP: number;
  /** 0 or below: off. */
  topK: number;
  minP: number;
}

/** What a rollout's agent must be answered with, whatever it asks for. */
export interface RolloutSession {
  id: string;
  /** Public model name of the agent whose policy servers answer. */
  publicModel: string;
  /** Served model name that is forced. */
  model: string;
  adapterDigest: string;
  seed: number;
  sampling: RolloutSampling;
}

/** Rollout sessions of this process: opened before a rollout's agent starts, closed for its record. */
export interface RolloutSessions {
  /** @throws Error when the id is open already: two rollouts would share one record. */
  open(session: RolloutSession): void;
  /** Calls in the order in which their answers were complete, and forgets the session; null when the id is unknown. */
  close(id: string): readonly RolloutCall[] | null;
  find(id: string): RolloutSession | null;
  record(id: string, call: RolloutCall): void;
}

export function createRolloutSessions(): RolloutSessions {
  const open = new Map<string, { session: RolloutSession; calls: RolloutCall[] }>();
  return {
    open(session) {
      if (open.has(session.id)) throw new Error(`rollout session ${session.id} is open already`);
      open.set(session.id, { session, calls: [] });
    },
    close(id) {
      const calls = open.get(id)?.calls ?? null;
      open.delete(id);
      return calls;
    },
    find: (id) => open.get(id)?.session ?? null,
    // A call whose session was closed while it ran belongs to no record any more.
    record: (id, call) => void open.get(id)?.calls.push(call),
  };
}
