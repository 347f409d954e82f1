import { writeFileSync } from "node:fs";
import type { Command } from "commander";
import { nightshiftError } from "../errors.ts";
import type { CliContext } from "./context.ts";
import { starterConfig, type Starter } from "./starter-config.ts";

const EXAMPLES = `
Examples:
  nightshift init --agent support --model support-bot --base-model /models/qwen3-4b --policy-server http://vllm:8000
  nightshift init --judge-model big-judge --judge-url http://judge:8000/v1 --gate-judge-model other-judge
  nightshift init --file -                   print it instead`;

type Options = Omit<Starter, "policyServers"> & { file: string; force?: true; policyServer?: string[] };

/** `nightshift init`: a commented config for the user's stack, with every other key and its default as a comment. */
export function initCommand(program: Command, context: CliContext): void {
  program
    .command("init")
    .description("write a commented nightshift.yaml for your stack")
    .option("-f, --file <file>", "where to; - prints it", "nightshift.yaml")
    .option("--force", "replace the file")
    .option("--agent <slug>", "slug of the agent", "my-agent")
    .option("--service-name <name>", "service.name of the agent's telemetry; the slug unless given")
    .option("--model <name>", "model name that the agent asks for", "my-model")
    .option("--base-model <dir>", "directory of the base model", "/models/base")
    .option("--policy-server <url...>", "vLLM replicas; none: the embedded server")
    .option("--judge-model <name>", "model that rewards rollouts")
    .option("--judge-url <url>", "OpenAI-compatible endpoint of the judges")
    .option("--gate-judge-model <name>", "another model, that judges the gate")
    .addHelpText("after", EXAMPLES)
    .action(({ file, force, policyServer = [], ...starter }: Options) => {
      const text = starterConfig({ ...starter, policyServers: policyServer });
      if (file === "-") return context.out(text.trimEnd());
      try {
        writeFileSync(file, text, { flag: force ? "w" : "wx", mode: 0o644 });
      } catch (cause) {
        const problem =
          (cause as NodeJS.ErrnoException).code === "EEXIST" ? `${file} exists already; --force replaces it` : `${file} cannot be written`;
        throw nightshiftError("usage_invalid", { problem }, { cause });
      }
      context.out(`${file} written; \`nightshift doctor --config ${file}\` checks it, \`nightshift up --config ${file}\` starts it`);
    });
}
