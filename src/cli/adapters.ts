import type { Command } from "commander";
import type { Attestation } from "../serving/attestation-store.ts";
import type { RegisteredAdapter } from "../training/adapters.ts";
import { clientOptions, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { fields, table, when } from "./print.ts";

const EXAMPLES = `
Examples:
  nightshift adapters list
  nightshift adapters show shop-support-3-8d1f0a2b9c3e    what it is, and each replica's proof`;

/** `nightshift adapters list|show`. */
export function adaptersCommand(program: Command, context: CliContext): void {
  const adapters = program.command("adapters").description("what nights have trained").addHelpText("after", EXAMPLES);
  clientOptions(adapters.command("list"))
    .description("newest first")
    .option("-a, --agent <agent>", "only this agent's")
    .option("--limit <n>", "at most this many", "20")
    .action(async ({ agent, limit, ...options }: ClientOptions & { agent?: string; limit: string }) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<{ adapters: RegisteredAdapter[] }>("/v1/adapters", { agent, limit }),
        (answer) =>
          table(
            ["adapter", "run", "iteration", "created"],
            answer.adapters.map(({ name, runId, iteration, manifest }) => [name, runId, iteration, when(manifest.createdAtMs)]),
            context,
          ),
      );
    });
  clientOptions(adapters.command("show <adapter>"))
    .description("one adapter by name or digest")
    .action(async (reference: string, options: ClientOptions) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<RegisteredAdapter & { attestations: Attestation[] }>(`/v1/adapters/${encodeURIComponent(reference)}`),
        (adapter) => describe(adapter, context),
      );
    });
}

function describe(
  { name, digest, runId, iteration, manifest, attestations }: RegisteredAdapter & { attestations: Attestation[] },
  context: CliContext,
): string {
  const { agent, tenant, rank, baseDigest, parentDigest, createdAtMs, files } = manifest;
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const head = {
    ...{ adapter: name, digest, agent, tenant, run: runId, iteration, rank, base: baseDigest, parent: parentDigest ?? "the base model" },
    ...{ created: when(createdAtMs), files: `${files.length}, ${bytes} bytes` },
  };
  const proofs = attestations.map(({ replica, status, reason, detail, figures, atMs }) => [
    replica,
    status,
    reason ?? "",
    figures ?? detail ?? "",
    when(atMs),
  ]);
  return [fields(head, context), "", table(["replica", "status", "reason", "proof", "at"], proofs, context)].join("\n");
}
