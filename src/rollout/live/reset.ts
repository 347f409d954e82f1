import { setTimeout as sleep } from "node:timers/promises";
import type { BootstrapConfig } from "../../config-bootstrap.ts";
import { startAgentProcess } from "../agent/agent-process.ts";
import type { McpConnection } from "./mcp-connection.ts";

type ResetConfig = NonNullable<BootstrapConfig["reset"]>;

/** Sets the sandbox back before a rollout. Resolves to what went wrong, null for nothing. Rejects only when `signal` aborts. */
export async function resetSandbox(
  reset: ResetConfig,
  {
    connection,
    env,
    signal,
  }: { connection: McpConnection; env: Readonly<Record<string, string | undefined>>; signal?: AbortSignal | undefined },
): Promise<string | null> {
  signal?.throwIfAborted();
  if (reset.tool !== undefined) {
    const answer = await connection.call(reset.tool, reset.arguments, signal === undefined ? {} : { signal });
    if (answer.status === "answered") return answer.result.isError === true ? "the tool answered with an error" : null;
    return answer.status === "refused" ? "the server refused the call" : answer.problem;
  }
  return reset.command === undefined ? post(reset.url ?? "", reset, signal) : run(reset.command, reset, env, signal);
}

async function post(url: string, { timeoutMs }: ResetConfig, signal: AbortSignal | undefined): Promise<string | null> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(url, {
      method: "POST",
      redirect: "error",
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
    await response.body?.cancel();
    return response.status < 300 ? null : `HTTP ${response.status}`;
  } catch {
    signal?.throwIfAborted();
    return timeout.aborted ? `no answer in ${timeoutMs} ms` : "no answer";
  }
}

async function run(
  command: readonly string[],
  { timeoutMs }: ResetConfig,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  const started = startAgentProcess({ command, directory: undefined, env: {}, inherited: env });
  const waiting = new AbortController();
  const stop = signal === undefined ? waiting.signal : AbortSignal.any([signal, waiting.signal]);
  try {
    const code = await Promise.race([started.exited, sleep(timeoutMs, "late" as const, { signal: stop })]);
    if (code === "late") return `no end in ${timeoutMs} ms`;
    return code === 0 ? null : `exit code ${code ?? "none"}`;
  } finally {
    waiting.abort();
    await started.stop();
  }
}
