/** What one check found. `bad` makes `doctor` exit 1; every finding that is not `ok` says what to do. */
export type Finding = { check: string; message: string } & ({ status: "ok" } | { status: "warn" | "bad"; fix: string });

export function ok(check: string, message: string): Finding {
  return { check, status: "ok", message };
}

export function warn(check: string, message: string, fix: string): Finding {
  return { check, status: "warn", message, fix };
}

export function bad(check: string, message: string, fix: string): Finding {
  return { check, status: "bad", message, fix };
}
