import { createInterface } from "node:readline/promises";
import { runCli } from "./program.ts";

/** Ctrl-C reaches this process twice, from the terminal and from the launcher in front of it: that is one wish, not two. */
const SAME_SIGNAL_MS = 300;

const stop = new AbortController();
let firstSignalAt = 0;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    if (!stop.signal.aborted) {
      firstSignalAt = performance.now();
      stop.abort();
    } else if (performance.now() - firstSignalAt > SAME_SIGNAL_MS) {
      process.exit(signal === "SIGINT" ? 130 : 143);
    }
  });
}
// A reader that closed the pipe (`nightshift … | head`) has what it wanted.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  out: (text) => process.stdout.write(`${text}\n`),
  err: (text) => process.stderr.write(`${text}\n`),
  colours: process.stdout.isTTY && process.stdout.hasColors() && process.env["NO_COLOR"] === undefined,
  signal: stop.signal,
  ...(process.stdin.isTTY ? { confirm: ask } : {}),
});

/** Anything but a plain yes is a no. */
async function ask(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `, { signal: stop.signal })).trim());
  } finally {
    terminal.close();
  }
}
