import type { Command } from "commander";
import { errorTable, NightshiftError, nightshiftError, type ErrorCode } from "../errors.ts";
import { tokenOf } from "./address.ts";
import type { CliContext } from "./context.ts";

const DEFAULT_URL = "http://127.0.0.1:4400";

/** Options that every command over the HTTP API takes. */
export interface ClientOptions {
  url?: string;
  tokenFile?: string;
  json?: true;
}

/** Nightshift's HTTP API, as the commands call it. Every failure is a NightshiftError: the API's own, `api_unreachable` or `api_answer_invalid`. */
export interface ApiClient {
  readonly url: string;
  get<T>(path: string, query?: Readonly<Record<string, string | undefined>>): Promise<T>;
  post<T>(path: string, body: object): Promise<T>;
  /** The lines of an answer that comes bit by bit, each one JSON. */
  lines<T>(path: string, body: object): AsyncIterable<T>;
  delete<T>(path: string, query?: Readonly<Record<string, string | undefined>>): Promise<T>;
}

/** Asks the API and prints what it said: its JSON with `--json`, otherwise what `show` makes of it. Resolves to the answer. */
export async function printAnswer<T>(
  options: ClientOptions,
  context: CliContext,
  ask: (client: ApiClient) => Promise<T>,
  show: (answer: T) => string,
): Promise<T> {
  const answer = await ask(createClient(options, context));
  context.out(options.json ? JSON.stringify(answer) : show(answer));
  return answer;
}

/** Adds `--url`, `--token-file` and `--json` to a command. */
export function clientOptions(command: Command): Command {
  return command
    .option("--url <url>", `Nightshift's API (default: NIGHTSHIFT_URL, else ${DEFAULT_URL})`)
    .option("--token-file <file>", "file with the token (default: NIGHTSHIFT_TOKEN_FILE, else NIGHTSHIFT_TOKEN)")
    .option("--json", "print the API's JSON");
}

/** @throws NightshiftError `usage_invalid` for a url that is none, or a token file that cannot be read */
export function createClient(options: ClientOptions, context: Pick<CliContext, "env" | "signal">): ApiClient {
  const url = (options.url ?? context.env["NIGHTSHIFT_URL"] ?? DEFAULT_URL).replace(/\/+$/, "");
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? "")) throw nightshiftError("usage_invalid", { problem: `${url} is not an http url` });
  const token = tokenOf(options, context.env);
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };

  async function call<T>(method: "GET" | "POST" | "DELETE", path: string, body?: object): Promise<T> {
    const request: RequestInit = {
      method,
      headers: { ...authorization, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      signal: context.signal,
      redirect: "error",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    };
    const { status, text } = await answerOf(url, path, request, context.signal);
    const parsed = parse(text);
    if (status >= 200 && status < 300 && parsed !== undefined) return parsed as T;
    throw errorOf(`${url}${path}`, status, parsed);
  }

  async function* lines<T>(path: string, body: object): AsyncIterable<T> {
    const headers = { ...authorization, "content-type": "application/json" };
    const request: RequestInit = { method: "POST", headers, signal: context.signal, redirect: "error", body: JSON.stringify(body) };
    const response = await reach(url, () => fetch(`${url}${path}`, request), context.signal);
    if (!response.ok || response.body === null) throw errorOf(`${url}${path}`, response.status, parse(await response.text()));
    let rest = "";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reach(url, () => reader.read(), context.signal);
      const pieces = (rest + (value ?? "")).split("\n");
      rest = pieces.pop() ?? "";
      for (const piece of pieces) {
        const parsed = parse(piece);
        if (parsed === undefined) throw errorOf(`${url}${path}`, response.status, undefined);
        yield parsed as T;
      }
      if (done) return;
    }
  }

  return {
    url,
    lines,
    get: (path, query) => call("GET", withQuery(path, query)),
    post: (path, body) => call("POST", path, body),
    delete: (path, query) => call("DELETE", withQuery(path, query)),
  };
}

function withQuery(path: string, query: Readonly<Record<string, string | undefined>> = {}): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`;
}

async function answerOf(url: string, path: string, request: RequestInit, signal: AbortSignal): Promise<{ status: number; text: string }> {
  return reach(
    url,
    async () => {
      const response = await fetch(`${url}${path}`, request);
      return { status: response.status, text: await response.text() };
    },
    signal,
  );
}

/** @throws NightshiftError `api_unreachable` */
async function reach<T>(url: string, ask: () => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    if (signal.aborted) throw cause;
    const { message, cause: inner } = cause as Error & { cause?: Error & { code?: string } };
    throw nightshiftError("api_unreachable", { url, problem: inner?.code ?? inner?.message ?? message }, { cause });
  }
}

/** The API's own error where the answer carries one; its codes are ours. */
function errorOf(url: string, status: number, answer: unknown): NightshiftError {
  const error = (answer as { error?: { code?: unknown; message?: unknown } } | undefined)?.error;
  const message = typeof error?.message === "string" ? error.message : "not an answer of Nightshift";
  const known = errorTable().find(({ code }) => code === error?.code);
  if (known === undefined) return nightshiftError("api_answer_invalid", { url, status, problem: message });
  return new NightshiftError(known.code satisfies ErrorCode, message);
}

/** The error that an answer in lines ended with; its codes are ours. */
export function toldError({ code, message }: { code: string; message: string }, url: string): NightshiftError {
  const known = errorTable().find((row) => row.code === code);
  return known === undefined
    ? nightshiftError("api_answer_invalid", { url, status: 200, problem: message })
    : new NightshiftError(known.code, message);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
