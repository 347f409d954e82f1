import { BOOTSTRAP } from "./errors/bootstrap.ts";
import { CAPTURE } from "./errors/capture.ts";
import { CLUSTER } from "./errors/cluster.ts";
import { COMMANDS } from "./errors/commands.ts";
import { CONTROL } from "./errors/control.ts";
import { NIGHTS } from "./errors/nights.ts";
import type { Row } from "./errors/row.ts";

/**
 * Every error that Nightshift raises: one class, one table. `message` says what failed, with the value; `fix` says what the operator does.
 * `retryable` tells a caller whether the same call may succeed later with nothing changed. Rows are grouped by room.
 */
const TABLE = { ...COMMANDS, ...CAPTURE, ...NIGHTS, ...BOOTSTRAP, ...CONTROL, ...CLUSTER };

export type ErrorCode = keyof typeof TABLE;
export type ErrorArgs<C extends ErrorCode> = Parameters<(typeof TABLE)[C]["message"]>[0];

export class NightshiftError extends Error {
  readonly code: ErrorCode;
  readonly fix: string;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "NightshiftError";
    this.code = code;
    this.fix = TABLE[code].fix;
    this.retryable = TABLE[code].retryable;
  }
}

/** Builds (does not throw) the error of `code`. Foreign errors travel as `cause`. */
export function nightshiftError<C extends ErrorCode>(code: C, args: ErrorArgs<C>, options?: { cause?: unknown }): NightshiftError {
  const row: Row = TABLE[code];
  return new NightshiftError(code, row.message(args), options);
}

/** All codes with their fixes, for the generated reference and the test that compares both. */
export function errorTable(): readonly { code: ErrorCode; fix: string; retryable: boolean }[] {
  return (Object.keys(TABLE) as ErrorCode[]).map((code) => ({ code, fix: TABLE[code].fix, retryable: TABLE[code].retryable }));
}
