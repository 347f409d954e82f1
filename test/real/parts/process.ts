import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** A server that a test started. It dies with the process that started it, however that ends. */
export interface PartProcess {
  readonly pid: number;
  /** The last lines of stdout and stderr, for the message of a test that failed. */
  tail(): string;
  /** `signal` (SIGTERM unless told), then SIGKILL after `limitMs`; resolves when it is gone. */
  stop(signal?: NodeJS.Signals, limitMs?: number): Promise<void>;
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>;
}

/**
 * Starts a server and resolves once `readyLine` matched its output.
 * Rejects with the output's tail when it ends or takes longer than `limitMs`.
 */
export async function startPartProcess(
  command: string,
  args: readonly string[],
  options: {
    cwd?: string;
    env?: Record<string, string>;
    /** A line on stdout or stderr. */
    readyLine: RegExp;
    limitMs: number;
    /** Options of setpriv besides the death signal, such as another user. */
    setpriv?: readonly string[];
    /** A command that the rest is arguments of, such as nsenter into other namespaces. */
    enter?: readonly string[];
    /** SIGKILL reaches the processes that it started, too: some do not notice in time that it is gone. */
    killsGroup?: boolean;
  },
): Promise<PartProcess> {
  // The kernel ends it when this process dies, kill -9 included, so that no failed run leaves a server behind.
  const [first = "", ...rest] = [...(options.enter ?? []), "setpriv", "--pdeathsig", "KILL", ...(options.setpriv ?? []), command, ...args];
  const child = spawn(first, rest, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: options.killsGroup === true,
  });
  const kill = (signal: NodeJS.Signals): void => {
    if (options.killsGroup === true && signal === "SIGKILL" && child.pid !== undefined) process.kill(-child.pid, signal);
    else child.kill(signal);
  };
  let [output, beginning] = ["", ""];
  const ready = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-20_000);
      if (beginning.length < 100_000) beginning += chunk.toString();
      if (options.readyLine.test(output)) ready.resolve();
    });
  }
  const tail = () => output.split("\n").slice(-25).join("\n");
  // A server that shuts down in order says why it does long before its last line.
  const why = () =>
    [
      ...beginning
        .split("\n")
        .filter((line) => /error|exception|fatal/i.test(line))
        .slice(0, 5),
      tail(),
    ].join("\n");
  const timer = setTimeout(() => ready.reject(new Error(`${command} not ready within ${options.limitMs} ms:\n${tail()}`)), options.limitMs);
  child.on("error", (error) => ready.reject(error));
  child.on("exit", (code, signal) => ready.reject(new Error(`${command} ended (${code ?? signal}):\n${why()}`)));
  try {
    await ready.promise;
  } catch (error) {
    await end(child, kill, "SIGKILL", 0);
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return {
    pid: child.pid ?? 0,
    tail,
    stop: (signal = "SIGTERM", limitMs = 20_000) => end(child, kill, signal, limitMs),
    kill: () => end(child, kill, "SIGKILL", 0),
  };
}

async function end(child: ChildProcess, kill: (signal: NodeJS.Signals) => void, signal: NodeJS.Signals, limitMs: number): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  kill(signal);
  const timer = setTimeout(() => kill("SIGKILL"), limitMs);
  await gone;
  clearTimeout(timer);
}

/**
 * Below the ports that Linux gives to outgoing connections: of those, one that is free now may be any client's in a moment, and the server that it was chosen for
 * does not start.
 */
const PORTS = { from: 20_000, to: 32_000 };

/** A loopback port that was free a moment ago. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.from, PORTS.to);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
