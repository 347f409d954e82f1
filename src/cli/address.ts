import { readFileSync } from "node:fs";
import { nightshiftError } from "../errors.ts";

/** The address to call of a listener: a wildcard is no destination. */
export function urlOf(host: string, port: number): string {
  const name = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `http://${name.includes(":") ? `[${name}]` : name}:${port}`;
}

/** The token in a file. @throws NightshiftError `usage_invalid` */
export function readToken(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw nightshiftError("usage_invalid", { problem: `the token file ${file} cannot be read` }, { cause });
  }
}
