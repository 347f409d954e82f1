import { resolve } from "node:path";
import type { Command } from "commander";
import { baseDigest } from "../artifact/base-digest.ts";
import { nightshiftError } from "../errors.ts";
import type { CliContext } from "./context.ts";

const EXAMPLES = `
With agents.<slug>.baseModelDigest in the config neither gateways nor adapter agents nor serve read the base's weights, so no such pod needs them on its disk. The trainer,
which loads them, computes the digest again and refuses another base.

Examples:
  nightshift base ./models/base
  nightshift base ./models/base --json`;

/** `nightshift base`: says what a base model is, as agents' configs may. */
export function baseCommand(program: Command, context: CliContext): void {
  program
    .command("base <directory>")
    .description("print the digest of a base model's files, for agents.<slug>.baseModelDigest")
    .option("--json", "print JSON")
    .addHelpText("after", EXAMPLES)
    .action(async (directory: string, { json }: { json?: true }) => {
      const digest = await baseDigest(resolve(directory)).catch((cause: unknown) => {
        if ((cause as NodeJS.ErrnoException).syscall === undefined) throw cause;
        throw nightshiftError("usage_invalid", { problem: `${directory} cannot be read` }, { cause });
      });
      context.out(json ? JSON.stringify({ digest }) : digest);
    });
}
