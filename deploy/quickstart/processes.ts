import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";

export interface Started<Ready> {
  child: ChildProcess;
  /** The JSON object of its ready line. */
  ready: Ready;
  stop(): Promise<void>;
}

/**
 * Starts a Node program and waits for the line `{"event":"ready",…}` on its stdout; its stderr goes to `logFile`.
 * Rejects with the log's last two lines (an error and its fix) when it ends before.
 */
export async function startProgram<Ready>(options: {
  name: string;
  args: readonly string[];
  env: Record<string, string | undefined>;
  logFile: string;
}): Promise<Started<Ready>> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...options.args], {
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let lastLines: string[] = [];
  if (child.stdout === null || child.stderr === null) throw new Error(`${options.name} has no output`);
  child.stderr.pipe(createWriteStream(options.logFile));
  createInterface({ input: child.stderr }).on("line", (line) => (lastLines = [...lastLines.slice(-1), line]));
  const ready = await new Promise<Ready>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) =>
      reject(new Error(`${options.name} ended with exit code ${code} before it was ready: ${lastLines.join("\n")}`)),
    );
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = parse(line);
      if (event?.["event"] === "ready") resolve(event as Ready);
    });
  });
  return {
    child,
    ready,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "close");
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

function parse(line: string): Record<string, unknown> | null {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return null;
  }
}
