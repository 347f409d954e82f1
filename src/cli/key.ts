import type { Command } from "commander";
import { writeSigningKey } from "../artifact/signing-key.ts";
import type { CliContext } from "./context.ts";

const EXAMPLES = `
Whoever holds the private half can have any adapter served: it goes to \`serve\` alone, by artifacts.signingKeyFile. The public half goes to the adapter agents, by
adapterAgent.publicKeyFile. Without such a key \`serve\` makes one below its dataDir, which its replicas must share then.

Examples:
  nightshift key --file adapter-signing.pem     writes adapter-signing.pem and adapter-signing.pub.pem
  nightshift key --file adapter-signing.pem --json`;

/** `nightshift key`: makes the pair of keys that adapters are signed and checked with. */
export function keyCommand(program: Command, context: CliContext): void {
  program
    .command("key")
    .description("make the key pair that adapters are signed with, for several replicas of serve")
    .requiredOption("--file <file>", "where the private half goes; the public one goes beside it")
    .option("--json", "print JSON")
    .addHelpText("after", EXAMPLES)
    .action(({ file, json }: { file: string; json?: true }) => {
      const { publicFile, id } = writeSigningKey(file);
      context.out(
        json
          ? JSON.stringify({ id, privateFile: file, publicFile })
          : [
              `private  ${file}   (artifacts.signingKeyFile of serve)`,
              `public   ${publicFile}   (adapterAgent.publicKeyFile)`,
              `id       ${id}`,
            ].join("\n"),
      );
    });
}
