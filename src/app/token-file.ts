import { readFileSync } from "node:fs";
import { nightshiftError } from "../errors.ts";

/** The token in a file that the config names under `path`; undefined where it names none. @throws NightshiftError `config_invalid` */
export function readTokenFile(path: string, file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  const refuse = (problem: string, cause?: unknown) => nightshiftError("config_invalid", { path, received: file, problem }, { cause });
  let token: string;
  try {
    token = readFileSync(file, "utf8").trim();
  } catch (cause) {
    throw refuse("the file cannot be read", cause);
  }
  if (!/^\S+$/.test(token)) throw refuse("the file must hold one token, without spaces");
  return token;
}
