import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { PbfReader } from "pbf";
import { nightshiftError } from "../../errors.ts";
import type { Signal } from "../../trace/wire.ts";

const compress = promisify(gzip);

/** What the collector said to one request. */
export type Answer =
  | { status: "accepted"; rejected: number; problem: string }
  /** These bytes will never be taken. */
  | { status: "refused"; problem: string };

/** One OTLP/HTTP request at a time to a collector, repeated for as long as the collector says "later" or nothing. */
export interface CollectorClient {
  /**
   * Resolves once the collector has the bytes durably, or never will. Rejects when `signal` aborts while it waits to repeat.
   * @throws NightshiftError `import_refused` for what fails every request alike, `import_unreachable` when patience is over
   */
  send(signal: Signal, bytes: Uint8Array): Promise<Answer>;
}

export interface CollectorClientOptions {
  url: string;
  token: string | undefined;
  /** Longest time without one request taken. */
  patienceMs: number;
  signal: AbortSignal;
}

const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);
/** Of this request alone: its bytes are too many, or no OTLP. */
const OF_THE_REQUEST: ReadonlySet<number> = new Set([400, 413]);
const REQUEST_TIMEOUT_MS = 60_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** After Ctrl-C, what is under way may still be acknowledged for this long. */
const LAST_WORDS_MS = 5_000;

export function createCollectorClient({ url, token, patienceMs, signal: stop }: CollectorClientOptions): CollectorClient {
  const headers = {
    "content-type": "application/x-protobuf",
    "content-encoding": "gzip",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  const tooLate = new AbortController();
  stop.addEventListener("abort", () => setTimeout(() => tooLate.abort(stop.reason), LAST_WORDS_MS).unref(), { once: true });

  /** One try: an answer, or how long to wait for the next one. */
  async function attempt(
    path: string,
    body: Uint8Array<ArrayBuffer>,
  ): Promise<Answer | { status: "later"; waitMs: number | null; problem: string }> {
    let response: Response;
    let bytes: Uint8Array;
    try {
      const giveUp = AbortSignal.any([tooLate.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
      response = await fetch(`${url}${path}`, { method: "POST", headers, body, signal: giveUp, redirect: "error" });
      bytes = new Uint8Array(await response.arrayBuffer());
    } catch (cause) {
      if (stop.aborted) throw stop.reason;
      const { message, cause: inner } = cause as Error & { cause?: Error & { code?: string } };
      return { status: "later", waitMs: null, problem: inner?.code ?? inner?.message ?? message };
    }
    const isOtlp = (response.headers.get("content-type") ?? "").startsWith("application/x-protobuf");
    if (response.ok && isOtlp) return { status: "accepted", ...partialSuccess(bytes) };
    // A proxy's page, or another service: what it says it took is nowhere.
    if (response.ok)
      throw nightshiftError("import_refused", {
        url,
        status: response.status,
        problem: "the answer is no OTLP: no collector listens there",
      });
    const problem = statusMessage(bytes);
    if (OF_THE_REQUEST.has(response.status)) return { status: "refused", problem: `HTTP ${response.status}: ${problem}` };
    if (!RETRYABLE.has(response.status)) throw nightshiftError("import_refused", { url, status: response.status, problem });
    return { status: "later", waitMs: retryAfterMs(response.headers.get("retry-after")), problem: `HTTP ${response.status}: ${problem}` };
  }

  return {
    async send(signal, bytes) {
      const body = await compress(bytes, { level: 1 });
      const startMs = performance.now();
      for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)) {
        const answer = await attempt(`/v1/${signal}`, body);
        if (answer.status !== "later") return answer;
        const nextMs = answer.waitMs ?? waitMs;
        const waitedMs = performance.now() - startMs;
        if (waitedMs + nextMs > patienceMs) {
          throw nightshiftError("import_unreachable", { url, seconds: Math.round(waitedMs / 1_000), problem: answer.problem });
        }
        await sleep(nextMs, undefined, { signal: stop });
      }
    },
  };
}

/** Retry-After in seconds or as a date (RFC 9110, 10.2.3). Longer than we wait at most is as good as that. */
export function retryAfterMs(value: string | null, nowMs = Date.now()): number | null {
  if (value === null) return null;
  const ms = /^\d+$/.test(value.trim()) ? Number(value) * 1_000 : Date.parse(value) - nowMs;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), LONGEST_WAIT_MS);
}

/** `partial_success {rejected=1, error_message=2}`, field 1 of either response. */
function partialSuccess(bytes: Uint8Array): { rejected: number; problem: string } {
  const found = { rejected: 0, problem: "" };
  readOrLeave(
    bytes,
    (tag, into: typeof found, pbf) => {
      if (tag !== 1) return;
      pbf.readMessage((inner, target: typeof found, reader) => {
        if (inner === 1) target.rejected = reader.readVarint();
        else if (inner === 2) target.problem = reader.readString().slice(0, 300);
      }, into);
    },
    found,
  );
  return found;
}

/** The message of a `google.rpc.Status`; of what is none, nothing: it may be any page of any proxy. */
function statusMessage(bytes: Uint8Array): string {
  const found = { message: "" };
  readOrLeave(
    bytes,
    (tag, into: typeof found, pbf) => {
      if (tag === 2) into.message = pbf.readString().slice(0, 300);
    },
    found,
  );
  return found.message === "" ? "no reason given" : found.message;
}

function readOrLeave<T>(bytes: Uint8Array, read: (tag: number, into: T, pbf: PbfReader) => void, into: T): void {
  try {
    new PbfReader(bytes).readFields(read, into);
  } catch {
    // An answer that is no protobuf says nothing.
  }
}
