import { pino, type Logger } from "pino";

export type { Logger };

/**
 * The process's logger: JSON lines on stderr, so that stdout stays free for a command's own output.
 * `msg` is a fixed lower-case phrase; data goes into fields; ids always under the names of ARCHITECTURE.md.
 */
export function createLog(options: { level: string; process: string }): Logger {
  return pino(
    {
      level: options.level,
      base: { process: options.process },
      timestamp: pino.stdTimeFunctions.isoTime,
      // A second line of defence: call sites must not pass secrets at all.
      redact: { paths: ["*.authorization", "*.apiKey", "*.token", "*.key", "headers.authorization"], censor: "[redacted]" },
    },
    pino.destination({ dest: 2, sync: false }),
  );
}

/** A logger that drops everything, for tests and for library callers that want silence. */
export function silentLog(): Logger {
  return pino({ level: "silent" });
}
