import { request } from "undici";

/** One call to the gateway, as a program beside it sees it. Times in milliseconds of this process's monotonic clock. */
export interface Call {
  startedMs: number;
  endedMs: number;
  /** null: no answer came. */
  status: number | null;
  /** Digest of the adapter that the gateway says answered. */
  digest: string | null;
  /** Name of the model that the policy server says answered. */
  model: string | null;
  /** Code of the refusal, or what kept an answer from coming; null: it was answered. */
  problem: string | null;
}

/** Calls a gateway all the time, each call a conversation of its own. */
export interface Caller {
  calls: readonly Call[];
  stop(): Promise<void>;
}

const PAUSE_MS = 20;

export function startCaller({ gateway, model, lanes }: { gateway: string; model: string; lanes: number }): Caller {
  const calls: Call[] = [];
  let stopped = false;
  const lane = async (number: number): Promise<void> => {
    for (let count = 0; !stopped; count += 1) {
      calls.push(await call(gateway, model, `caller-${number}-${count}`));
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  };
  const running = Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)));
  return {
    calls,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

async function call(gateway: string, model: string, session: string): Promise<Call> {
  const startedMs = performance.now();
  try {
    const answer = await request(`${gateway}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-session-id": session },
      body: JSON.stringify({ model, messages: [{ role: "user", content: "where is A1234" }], max_tokens: 4 }),
    });
    const body = (await answer.body.json()) as { model?: string; error?: { code?: string } };
    const digest = answer.headers["x-nightshift-adapter"];
    const seen = { digest: typeof digest === "string" ? digest : null, model: body.model ?? null, problem: body.error?.code ?? null };
    return { startedMs, endedMs: performance.now(), status: answer.statusCode, ...seen };
  } catch (cause) {
    return { startedMs, endedMs: performance.now(), status: null, digest: null, model: null, problem: String(cause) };
  }
}
