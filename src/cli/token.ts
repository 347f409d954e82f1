import { writeFileSync } from "node:fs";
import { Option, type Command } from "commander";
import { makeToken } from "../bearer-token.ts";
import { ROLES } from "../config-api.ts";
import { nightshiftError } from "../errors.ts";
import type { CliContext } from "./context.ts";

const EXAMPLES = `
The token goes to whoever calls, in a file that only it may read: --token-file, NIGHTSHIFT_TOKEN_FILE, or gateway.collectorTokenFile for the collector role. Its
hash goes into the config of whoever is called, which never sees the token before it is used. Two hashes of a role are valid at once: add the new one, hand the
new token out, take the old one away.

Examples:
  nightshift token --role operator
  nightshift token --role gateway --file gateway.token     the token goes into the file, the hash to stdout
  nightshift token --role viewer --tenant acme             reads what is acme's, and nothing else
  nightshift token --role collector --tenant default --json`;

interface Options {
  role: string;
  tenant?: string;
  file?: string;
  json?: true;
}

/** `nightshift token`: makes a bearer token, shows it once, and says where its hash goes. */
export function tokenCommand(program: Command, context: CliContext): void {
  program
    .command("token")
    .description("make a bearer token for the API or the collector")
    .addOption(new Option("--role <role>", "what it is for").choices([...ROLES, "collector"]).makeOptionMandatory())
    .option("--tenant <slug>", "whose; of the API: reaches this tenant alone (default: every tenant, with --role collector `default`)")
    .option("--file <file>", "write the token there, readable by you alone, instead of printing it")
    .option("--json", "print JSON")
    .addHelpText("after", EXAMPLES)
    .action(({ role, tenant, file, json }: Options) => {
      const { token, hash } = makeToken(role);
      const key = keyOf(role, tenant);
      if (file !== undefined) writeToken(file, token);
      const shown = file === undefined ? { token } : { file };
      if (json) return context.out(JSON.stringify({ role, key, hash, ...shown }));
      context.out(
        [
          file === undefined ? `token  ${token}   (shown this once)` : `token  in ${file}`,
          `hash   ${hash}`,
          `Add the hash to ${key} in the config, then restart what reads it.`,
        ].join("\n"),
      );
    });
}

function keyOf(role: string, tenant: string | undefined): string {
  if (role === "collector") return `tenants.${tenant ?? "default"}.collectorTokenHashes`;
  return tenant === undefined ? `api.tokens.${role}` : `tenants.${tenant}.apiTokens.${role}`;
}

function writeToken(file: string, token: string): void {
  try {
    writeFileSync(file, `${token}\n`, { flag: "wx", mode: 0o600 });
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === "EEXIST";
    throw nightshiftError("usage_invalid", { problem: `${file} ${exists ? "exists already" : "cannot be written"}` }, { cause });
  }
}
