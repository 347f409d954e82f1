import type { styleText } from "node:util";

/** What a command sees of the process that it runs in; tests pass their own. */
export interface CliContext {
  env: Record<string, string | undefined>;
  /** Writes one line (or several) to stdout: what was asked for, and nothing else. */
  out(text: string): void;
  /** Writes one line to stderr: problems and progress. */
  err(text: string): void;
  /** Asks a person, who may say no; absent where there is nobody to ask. */
  confirm?: (question: string) => Promise<boolean>;
  /** Stdout is a terminal that shows colours. */
  colours: boolean;
  /** Aborts at the first SIGINT or SIGTERM. */
  signal: AbortSignal;
}

/** What a command itself says of how it ended. 0: done. 1: what was asked for failed. 2: bad config or bad usage. What an error's code says is `runCli`'s. */
export type ExitCode = 0 | 1 | 2;

export type Style = Parameters<typeof styleText>[0];
