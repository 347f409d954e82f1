import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";

export interface EmbeddedServer {
  /** Base URL; stays the same over restarts. */
  readonly url: string;
  /** Changes with every start of the process: an adapter's proof holds for one instance only. */
  instance(): string;
  close(): Promise<void>;
}

/**
 * The policy server of the trainer package as a child process, restarted when it dies. For the quickstart and the tests; a fleet runs vLLM.
 * @throws NightshiftError `policy_server_unavailable` when it does not come up.
 */
export async function startEmbeddedServer(
  options: { python: string; trainerDirectory: string; model: string; servedModelName: string; port: number },
  deps: { log: Logger },
): Promise<EmbeddedServer> {
  let closing = false;
  let starts = 0;
  let child: ChildProcess;
  let port = options.port;

  const start = async (): Promise<void> => {
    starts += 1;
    child = launch({ ...options, port });
    port = await ready(child, deps.log);
    const started = child;
    child.once("close", (code) => {
      if (closing || started !== child) return;
      deps.log.warn({ exit_code: code }, "embedded policy server ended, starting it again");
      restart();
    });
  };
  const restart = (): void => {
    setTimeout(() => {
      if (closing) return;
      start().catch((error: unknown) => {
        deps.log.error({ err: error }, "embedded policy server did not start");
        restart();
      });
    }, 500);
  };

  await start();
  return {
    url: `http://127.0.0.1:${port}`,
    instance: () => `${child.pid ?? 0}-${starts}`,
    async close() {
      closing = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "close");
      child.stdin?.end();
      const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

function launch(options: { python: string; trainerDirectory: string; model: string; servedModelName: string; port: number }): ChildProcess {
  return spawn(
    options.python,
    [
      ...["-m", "nightshift_trainer", "serve", "--model", options.model, "--served-model-name", options.servedModelName],
      ...["--host", "127.0.0.1", "--port", String(options.port), "--exit-with-stdin"],
    ],
    { cwd: options.trainerDirectory, stdio: ["pipe", "pipe", "pipe"] },
  );
}

/** Waits for the ready line on stdout; the log lines of stderr go to our log. Resolves to the port. */
async function ready(child: ChildProcess, log: Logger): Promise<number> {
  let lastLine = "";
  if (child.stderr !== null) {
    createInterface({ input: child.stderr }).on("line", (line) => {
      lastLine = line.slice(0, 500);
      log.debug({ line: lastLine }, "embedded policy server");
    });
  }
  return await new Promise((resolve, reject) => {
    const fail = (): void =>
      reject(nightshiftError("policy_server_unavailable", { url: "embedded", problem: lastLine || "it ended before it was ready" }));
    child.once("error", fail);
    child.once("close", fail);
    if (child.stdout === null) return fail();
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = parseEvent(line);
      if (event?.event === "ready" && event.port !== undefined) resolve(event.port);
    });
  });
}

function parseEvent(line: string): { event?: string; port?: number } | null {
  try {
    return JSON.parse(line) as { event?: string; port?: number };
  } catch {
    return null;
  }
}
