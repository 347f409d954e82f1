import { readFileSync } from "node:fs";
import type { Config } from "../config.ts";
import { EVERY_ADDRESS } from "../config-api.ts";
import { nightshiftError } from "../errors.ts";

/** The address to call of a listener: a wildcard is no destination. */
export function urlOf(host: string, port: number, scheme: "http" | "https" = "http"): string {
  const name = host === "0.0.0.0" || host === EVERY_ADDRESS ? "127.0.0.1" : host === "::" ? "::1" : host;
  return `${scheme}://${name.includes(":") ? `[${name}]` : name}:${port}`;
}

/** What agents' exporters are pointed at. */
export function collectorUrls(
  { collector: { host, tls } }: Pick<Config, "collector">,
  { port, grpcPort }: { port: number; grpcPort: number | null },
): { collector: string; collectorGrpc?: string } {
  const scheme = tls === undefined ? "http" : "https";
  return {
    collector: urlOf(host, port, scheme),
    ...(grpcPort === null ? {} : { collectorGrpc: urlOf(host, grpcPort, scheme) }),
  };
}

/** The token that a command presents: of `--token-file`, else of NIGHTSHIFT_TOKEN_FILE, else NIGHTSHIFT_TOKEN. Never an argument, which every user of the machine can read. @throws NightshiftError `usage_invalid` */
export function tokenOf(options: { tokenFile?: string | undefined }, env: Record<string, string | undefined>): string | undefined {
  const file = options.tokenFile ?? env["NIGHTSHIFT_TOKEN_FILE"];
  return file === undefined ? env["NIGHTSHIFT_TOKEN"] : readToken(file);
}

/** The token in a file. @throws NightshiftError `usage_invalid` */
export function readToken(file: string): string {
  let token: string;
  try {
    token = readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw nightshiftError("usage_invalid", { problem: `the token file ${file} cannot be read` }, { cause });
  }
  if (!/^\S+$/.test(token)) throw nightshiftError("usage_invalid", { problem: `the token file ${file} holds no token, or more than one` });
  return token;
}
