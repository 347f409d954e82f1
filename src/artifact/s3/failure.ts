import { NightshiftError } from "../../errors.ts";

/** What an error of the SDK means to us. */
export interface Failure {
  /** `passing` is worth another try; `refused` waits for an operator; `ours` is a NightshiftError that came through the SDK. */
  kind: "missing" | "exists" | "passing" | "refused" | "ours";
  /** One line without anything that the store may have quoted back. */
  problem: string;
  /** Only of errors that were made on this machine: the store's own quote the signed request. */
  cause: unknown;
}

/** Signed with a clock that is wrong: the SDK has learned the store's time from this very answer. */
const PASSING_CODES = new Set(["RequestTimeTooSkewed", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted"]);
const PASSING_STATUS = new Set([408, 409, 425, 429]);

export function failureOf(error: unknown): Failure {
  if (error instanceof NightshiftError) return { kind: "ours", problem: error.message, cause: error };
  const { name, status } = readable(error);
  if (status === null || status < 300) return { kind: "passing", problem: networkProblem(error), cause: error };
  const problem = `HTTP ${status} ${name}`;
  if (status === 404 && name !== "NoSuchBucket") return { kind: "missing", problem, cause: undefined };
  if (status === 412) return { kind: "exists", problem, cause: undefined };
  const isPassing = status >= 500 || PASSING_STATUS.has(status) || PASSING_CODES.has(name);
  return { kind: isPassing ? "passing" : "refused", problem, cause: undefined };
}

/** The SDK names its errors by the store's code, which is foreign text. */
function readable(error: unknown): { name: string; status: number | null } {
  const { name, $metadata } = error as { name?: unknown; $metadata?: { httpStatusCode?: unknown } };
  const status = $metadata?.httpStatusCode;
  return {
    name: typeof name === "string" ? name.replaceAll(/[^A-Za-z0-9._-]/g, "").slice(0, 60) : "",
    status: typeof status === "number" ? status : null,
  };
}

function networkProblem(error: unknown): string {
  const { code, name, message } = error as { code?: unknown; name?: unknown; message?: unknown };
  // The SDK calls a connection that broke off a timeout too.
  if (name === "TimeoutError" && (code === undefined || code === "ETIMEDOUT")) return "no answer in time";
  if (typeof code === "string") return code;
  return typeof message === "string" ? (message.split("\n")[0] ?? "").slice(0, 200) : "unknown problem";
}
