import { readFileSync } from "node:fs";
import type { PostgresConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";

/**
 * The server's URL, from the file or the variable that the config names. It holds the password: it goes to the driver and nowhere else, and no error quotes it.
 * @throws NightshiftError `store_url_invalid`
 */
export function readPostgresUrl(config: PostgresConfig, env: Record<string, string | undefined>): string {
  const { source, text } = readSource(config, env);
  const invalid = (problem: string) => nightshiftError("store_url_invalid", { source, problem });
  // Not with the parser's error as cause: it quotes its input.
  if (!URL.canParse(text)) throw invalid("it is not a URL");
  const { protocol, pathname } = new URL(text);
  if (protocol !== "postgres:" && protocol !== "postgresql:") throw invalid(`its scheme is ${protocol.slice(0, 20)}`);
  if (pathname.length < 2) throw invalid("it names no database");
  return text;
}

function readSource(config: PostgresConfig, env: Record<string, string | undefined>): { source: string; text: string } {
  const { urlFile, urlEnv } = config;
  if ((urlFile === undefined) === (urlEnv === undefined)) {
    throw nightshiftError("store_url_invalid", {
      source: "the config",
      problem: "exactly one of store.urlFile and store.urlEnv must be set",
    });
  }
  if (urlFile === undefined) return { source: `variable ${urlEnv}`, text: env[urlEnv ?? ""]?.trim() ?? "" };
  try {
    return { source: `file ${urlFile}`, text: readFileSync(urlFile, "utf8").trim() };
  } catch (cause) {
    throw nightshiftError("store_url_invalid", { source: `file ${urlFile}`, problem: (cause as Error).message }, { cause });
  }
}
