import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** A running program of the user, with all that it starts. */
export interface AgentProcess {
  /** Resolves when it has ended, however: null for a signal or where it could not be started. Never rejects. */
  exited: Promise<number | null>;
  /** Ends it and what it has started: asked first, then forced. Resolves when it is gone. */
  stop(): Promise<void>;
}

/** What a program may know of this process's environment: no credentials, no proxies, no telemetry endpoints. */
const INHERITED = ["PATH", "LANG", "LC_ALL", "TZ", "TMPDIR"] as const;
/** How long a program may take to end when asked. */
const GRACE_MS = 500;

/** @param input Written to its standard input, which then ends. Its output is thrown away: it may hold what people said. */
export function startAgentProcess(options: {
  command: readonly string[];
  directory: string | undefined;
  env: Readonly<Record<string, string>>;
  inherited: Readonly<Record<string, string | undefined>>;
  input?: string;
}): AgentProcess {
  const [program = "", ...args] = options.command;
  // A process group of its own: what the program starts ends with it.
  const child = spawn(program, args, {
    ...(options.directory === undefined ? {} : { cwd: options.directory }),
    env: { ...inheritedOf(options.inherited), ...options.env },
    detached: true,
    stdio: [options.input === undefined ? "ignore" : "pipe", "ignore", "ignore"],
  });
  // A program that does not read its input closes the pipe.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(options.input);
  const exited = new Promise<number | null>((resolve) => {
    child.once("error", () => resolve(null));
    child.once("exit", (code) => resolve(code));
  });
  return { exited, stop: () => stop(child, exited) };
}

/** What a program of the operator's gets of this process's environment. */
export function inheritedOf(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(INHERITED.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]] as const])));
}

async function stop(child: ChildProcess, exited: Promise<unknown>): Promise<void> {
  if (child.pid === undefined) return;
  signalGroup(child.pid, "SIGTERM");
  const waiting = new AbortController();
  await Promise.race([exited, sleep(GRACE_MS, undefined, { signal: waiting.signal }).catch(() => undefined)]);
  waiting.abort();
  // The group outlives its first process where that left others behind.
  signalGroup(child.pid, "SIGKILL");
  await exited;
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ESRCH") throw cause;
  }
}

/** A port on loopback that was free just now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
