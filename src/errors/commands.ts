import type { Row } from "./row.ts";

export const COMMANDS = {
  // root
  config_invalid: {
    message: (a: { path: string; received: string; problem: string }) => `config ${a.path}: ${a.problem} (received ${a.received})`,
    fix: "Correct the value in the config file or its NIGHTSHIFT_ environment variable; `nightshift init` prints every key with its meaning.",
    retryable: false,
  },
  config_unreadable: {
    message: (a: { file: string; problem: string }) => `config file ${a.file} cannot be read: ${a.problem}`,
    fix: "Pass an existing YAML file with --config, or leave it out to run on defaults.",
    retryable: false,
  },
  port_taken: {
    message: (a: { what: string; host: string; port: number }) => `${a.what} cannot listen on ${a.host}:${a.port}: the port is taken`,
    fix: "Stop the other process or set another port for this listener in the config.",
    retryable: false,
  },
  disk_full: {
    message: (a: { what: string; path: string }) => `${a.what} could not be written below ${a.path}: no space left on the device`,
    fix: "Free disk space or move dataDir to a larger volume; nothing that was acknowledged is lost.",
    retryable: true,
  },
  // command line
  python_unusable: {
    message: (a: { python: string; problem: string }) => `Python ${a.python} cannot run the trainer: ${a.problem}`,
    fix: "`npm run quickstart` prepares .venv with everything in it; or point `python` in the config at a Python >= 3.11 that has trainer/requirements.txt.",
    retryable: false,
  },
  usage_invalid: {
    message: (a: { problem: string }) => a.problem,
    fix: "`nightshift COMMAND --help` shows the command's arguments with examples.",
    retryable: false,
  },
  api_unreachable: {
    message: (a: { url: string; problem: string }) => `Nightshift's API at ${a.url} does not answer: ${a.problem}`,
    fix: "Start it with `nightshift serve --config FILE` (`nightshift up` with embedded parts), or name its address with --url or NIGHTSHIFT_URL.",
    retryable: true,
  },
  api_answer_invalid: {
    message: (a: { url: string; status: number; problem: string }) => `${a.url} answered HTTP ${a.status}: ${a.problem}`,
    fix: "Check that --url names Nightshift's API (port 4400 unless configured) and that both sides have the same version.",
    retryable: false,
  },
  import_file_unreadable: {
    message: (a: { file: string; problem: string }) => `${a.file} cannot be read: ${a.problem}`,
    fix: "Name existing files that this user may read; gzip and zstd are unpacked while they are read.",
    retryable: false,
  },
  import_record_unreadable: {
    message: (a: { file: string; at: string; problem: string }) => `${a.file}:${a.at}: ${a.problem}`,
    fix: "Export the file again where its end is missing; `nightshift import --help` lists the formats that can be read.",
    retryable: false,
  },
  import_record_invalid: {
    message: (a: { file: string; at: string; problem: string; received: string }) =>
      `${a.file}:${a.at}: ${a.problem} (received ${a.received})`,
    fix: "Correct the record or take it out and import the file again: what has been imported already is not stored twice. --format names the format where it was guessed wrong.",
    retryable: false,
  },
  import_record_too_large: {
    message: (a: { file: string; at: string; bytes: number; maxBytes: number }) =>
      `${a.file}:${a.at}: the record has ${a.bytes} bytes or more, ${a.maxBytes} are taken`,
    fix: "Export it as JSON lines, one conversation or observation per line, or raise --max-record-bytes together with collector.maxBodyBytes.",
    retryable: false,
  },
  import_refused: {
    message: (a: { url: string; status: number; problem: string }) =>
      `the collector at ${a.url} refused with HTTP ${a.status}: ${a.problem}`,
    fix: "Check that --endpoint names Nightshift's collector (port 4318 unless configured) and that the token is a collector token of the right tenant.",
    retryable: false,
  },
  import_unreachable: {
    message: (a: { url: string; seconds: number; problem: string }) =>
      `the collector at ${a.url} took nothing for ${a.seconds} s: ${a.problem}`,
    fix: "Start it, or wait until it takes requests again, and run the same command: what has been imported already is not stored twice.",
    retryable: true,
  },
} as const satisfies Record<string, Row>;
