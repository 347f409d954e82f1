import { setTimeout as sleep } from "node:timers/promises";
import { HEADER } from "../../../src/telemetry.ts";

/** One conversation of one call, by this machine's clock. */
export interface Call {
  beganAtMs: number;
  endedAtMs: number;
  /** null: no whole answer came. */
  status: number | null;
  /** Digest of the adapter, or of the base, that the gateway says answered. */
  digest: string | null;
  /** Name of the model that the policy server says answered. */
  model: string | null;
  /** What was wrong with it. */
  problem: string | null;
}

export interface SteadyCalls {
  readonly calls: readonly Call[];
  /** Resolves when the last one has ended. */
  stop(): Promise<void>;
}

const AT_ONCE = 2;
const PAUSE_MS = 100;
const LIMIT_MS = 30_000;

/** An agent that never stops asking, and never asks twice: new conversations, one after the other in each of two lanes. @param gateway Without a path. */
export function startSteadyCalls(gateway: string, model: string): SteadyCalls {
  const calls: Call[] = [];
  const stopping = new AbortController();
  let count = 0;
  const lane = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      calls.push(await askOnce(gateway, model, `steady-${++count}`));
      await sleep(PAUSE_MS, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  };
  const lanes = Array.from({ length: AT_ONCE }, lane);
  return {
    calls,
    async stop() {
      stopping.abort();
      await Promise.all(lanes);
    },
  };
}

/** One call of a conversation that has no other. Never rejects. @param gateway Without a path. */
export async function askOnce(gateway: string, model: string, conversation = "once"): Promise<Call> {
  const beganAtMs = Date.now();
  const over = (told: Pick<Call, "status" | "digest" | "model" | "problem">): Call => ({ beganAtMs, endedAtMs: Date.now(), ...told });
  try {
    const answer = await fetch(`${gateway}/v1/chat/completions`, {
      method: "POST",
      // A connection of its own: none can be one that is closed while it is idle.
      headers: { "content-type": "application/json", [HEADER.sessionId]: conversation, connection: "close" },
      body: JSON.stringify({ model, messages: [{ role: "user", content: "hello" }], max_tokens: 4 }),
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    const text = await answer.text();
    const { status } = answer;
    const named = status === 200 ? ((JSON.parse(text) as { model?: string }).model ?? null) : null;
    return over({ status, digest: answer.headers.get(HEADER.adapter), model: named, problem: status === 200 ? null : text });
  } catch (error) {
    return over({ status: null, digest: null, model: null, problem: String(error) });
  }
}
