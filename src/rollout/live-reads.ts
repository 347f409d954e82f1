import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { PSEUDONYM } from "../trace/pseudonym.ts";
import { EVERYTHING, entitiesOfCall } from "../trajectory/entities.ts";
import { parseResult, showsError } from "../trajectory/record-tape.ts";
import { createLimiter } from "../limiter.ts";
import type { PreparedCall } from "./cascade/prepare.ts";
import type { Situation } from "./cascade/situation.ts";
import { readByMcp, type LiveAnswer, type LiveQuestion } from "./live-mcp.ts";
import { createPins } from "./pins.ts";

export type LiveReadsConfig = NonNullable<AgentConfig["replay"]["liveReads"]>;

export interface LiveReadRequest {
  situation: Situation;
  call: PreparedCall;
  /** Identity of the answer: siblings of a run that make the same call in the same state get the same one. Null: asked anew, and kept for nobody. */
  key: string | null;
}

export type LiveRead =
  | { status: "answered"; result: string; isError: boolean; readAtMs: number }
  /** Not allowed, or (`isFailure`) the endpoint gave no usable answer: the next rung. */
  | { status: "none"; isFailure: boolean };

/** Asks an operator's endpoint what the world says now (R6). Reads only; nothing that this rollout has written is among what is asked. */
export interface LiveReads {
  /** Rejects only when `signal` aborts. */
  read(request: LiveReadRequest, options?: { signal?: AbortSignal }): Promise<LiveRead>;
}

/**
 * Live reads of the tools that the operator listed. `token` is the read-only credential, sent as bearer token and nowhere else; redirects are not followed.
 */
export function createLiveReads(config: LiveReadsConfig, deps: { token: string | null; log: Logger; now: () => number }): LiveReads {
  const pins = createPins<LiveRead>(({ status }) => status === "answered");
  const enter = createLimiter(config.concurrency);
  return {
    async read({ situation, call, key }, { signal } = {}) {
      const endpoint = Object.hasOwn(config.tools, call.tool) ? config.tools[call.tool] : undefined;
      if (endpoint === undefined || !mayBeRead(situation, call)) return { status: "none", isFailure: false };
      const read = (): Promise<LiveRead> => enter(() => ask({ endpoint, call, config }, deps, signal));
      return key === null ? read() : pins.get(`${call.tool}|${key}`, read);
    },
  };
}

/**
 * A tool that the operator's own word made a read, about something that this rollout has not written, with arguments that name nobody by a pseudonym: the
 * world knows no pseudonyms.
 */
function mayBeRead({ overlay }: Situation, call: PreparedCall): boolean {
  if (call.profile.cls !== "read" || call.profile.evidence !== "config" || call.schema === null) return false;
  if (PSEUDONYM.test(JSON.stringify(call.args))) return false;
  const entities = entitiesOfCall(call.profile, call.args);
  return overlay.writes.every(
    (write) =>
      !write.entities.includes(EVERYTHING) && !entities.includes(EVERYTHING) && !entities.some((one) => write.entities.includes(one)),
  );
}

/** An error that speaks of the server, not of what was asked for: tools answer a limit on calls as any other failure. */
const BUSY =
  /\b(?:rate[ _-]?limit|too many requests|throttl|quota exceeded|overloaded|temporarily unavailable|service unavailable|bad gateway|gateway timeout|timed? ?out|(?:http|status|code|error)\W{0,4}(?:429|50[234])(?!\d))/i;

interface Asked {
  endpoint: LiveReadsConfig["tools"][string];
  call: PreparedCall;
  config: LiveReadsConfig;
}

async function ask(
  { endpoint, call, config }: Asked,
  deps: { token: string | null; log: Logger; now: () => number },
  signal?: AbortSignal,
): Promise<LiveRead> {
  const timeout = AbortSignal.timeout(config.timeoutMs);
  const stop = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  const { token } = deps;
  const { maxBytes } = config;
  try {
    const answer =
      endpoint.protocol === "mcp"
        ? await readByMcp({ url: endpoint.url, tool: endpoint.name ?? call.tool, args: call.args, token, maxBytes }, stop)
        : await readByHttp({ url: endpoint.url, tool: call.tool, args: call.args, token, maxBytes }, stop);
    if ("problem" in answer) return failed(answer.problem, call, deps);
    const isError = answer.isError || showsError(call.profile, parseResult(answer.text));
    if (isError && BUSY.test(answer.text)) return failed("the server had no time for it", call, deps);
    return { status: "answered", result: answer.text, isError, readAtMs: deps.now() };
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason;
    return failed(timeout.aborted ? `no answer in ${config.timeoutMs} ms` : problemOf(error), call, deps);
  }
}

async function readByHttp({ url, tool, args, token, maxBytes }: LiveQuestion, signal: AbortSignal): Promise<LiveAnswer> {
  const response = await fetch(url, {
    method: "POST",
    // A redirect would carry the credential, and the arguments, to somebody whom nobody listed.
    redirect: "error",
    headers: { "content-type": "application/json", ...(token === null ? {} : { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ tool, arguments: args }),
    signal,
  });
  if (!response.ok) {
    await response.body?.cancel();
    return { problem: `HTTP ${response.status}` };
  }
  const text = await boundedText(response, maxBytes);
  return text === null ? { problem: `more than ${maxBytes} bytes` } : { text, isError: false };
}

/** What went wrong, without anything that the endpoint said: neither it nor the credential belongs into a log. */
function problemOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : error instanceof Error ? error.name : "unknown";
  return code.slice(0, 60);
}

function failed(problem: string, call: PreparedCall, { log }: { log: Logger }): LiveRead {
  const error = nightshiftError("live_read_failed", { tool: call.tool.slice(0, 100), problem });
  log.warn({ tool: call.tool, code: error.code, problem }, "live read gave no answer");
  return { status: "none", isFailure: true };
}

async function boundedText(response: Response, maxBytes: number): Promise<string | null> {
  if (response.body === null) return "";
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) return null;
    chunks.push(chunk);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}
