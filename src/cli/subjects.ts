import type { Command } from "commander";
import type { SubjectView } from "../api/subjects.ts";
import { nightshiftError } from "../errors.ts";
import type { ErasureReport } from "../training/eraser.ts";
import { clientOptions, createClient, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { counts, fields, plain, when } from "./print.ts";

const EXAMPLES = `
A subject is a customer's key, as user.id has it on the agent's spans, or conversation:ID for a conversation that names nobody.

Examples:
  nightshift subjects show customer-17
  nightshift subjects erase customer-17
  nightshift subjects erase customer-17 --tenant shop --yes --json`;

const PSEUDONYM_HINT =
  "this control service has not got the tenant's redaction key: if spans carry a pseudonym for this key, name the pseudonym (`nightshift trajectories show` has it)";

interface SubjectOptions extends ClientOptions {
  tenant?: string;
}

/** `nightshift subjects show|erase`. */
export function subjectsCommand(program: Command, context: CliContext): void {
  const subjects = program.command("subjects").description("what is held of a customer, and erasing it").addHelpText("after", EXAMPLES);
  clientOptions(subjects.command("show <key>"))
    .description("what is stored of a subject, and which adapters learned from it")
    .option("--tenant <tenant>", "tenant; may be left out where there is one")
    .action(async (key: string, options: SubjectOptions) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<SubjectView>(pathOf(key), { tenant: options.tenant }),
        (view) => describe(view, context),
      );
    });
  clientOptions(subjects.command("erase <key>"))
    .description("erase all that is stored of a subject, for good; what comes back of it is not stored again")
    .option("--tenant <tenant>", "tenant; may be left out where there is one")
    .option("--actor <name>", "who erases, for the audit log", context.env["USER"] ?? "operator")
    .option("-y, --yes", "do not ask")
    .action(async (key: string, options: SubjectOptions & { actor: string; yes?: true }) => {
      const client = createClient(options, context);
      if (options.yes !== true) await confirm(key, await client.get<SubjectView>(pathOf(key), { tenant: options.tenant }), context);
      const report = await client.delete<ErasureReport & { isWholeKey: boolean }>(pathOf(key), {
        tenant: options.tenant,
        actor: options.actor,
      });
      context.out(options.json ? JSON.stringify(report) : describeErasure(report, context));
      if (!report.isWholeKey) context.err(`  note: ${PSEUDONYM_HINT}`);
    });
}

function pathOf(key: string): string {
  return `/v1/subjects/${encodeURIComponent(key)}`;
}

/** @throws NightshiftError `usage_invalid` where nobody can be asked, or said no */
async function confirm(key: string, { held, adapters, sharedConversations }: SubjectView, context: CliContext): Promise<void> {
  if (context.confirm === undefined) throw nightshiftError("usage_invalid", { problem: "nobody can be asked here: add --yes to erase" });
  const learned = adapters.length === 0 ? "" : `; ${adapters.length} adapters learned from it and stay`;
  const shared = sharedConversations === 0 ? "" : `; ${sharedWith(sharedConversations)}`;
  if (!(await context.confirm(`Erase ${plain(key)} for good (${counts(held) || "nothing is held"}${learned}${shared})?`)))
    throw nightshiftError("usage_invalid", { problem: "nothing was erased" });
}

/** What an operator should know before it is too late: a session id that all customers have is one conversation. */
function sharedWith(conversations: number): string {
  return `${conversations} of its conversations name other customers, too: they go whole, and nothing more is stored under their ids`;
}

function describe(
  { tenant, subjectHash, isWholeKey, held, sharedConversations, runs, adapters, erasures }: SubjectView,
  context: CliContext,
): string {
  const lines = fields(
    {
      ...{ tenant, "tombstone hash": subjectHash, held: counts(held) || "nothing" },
      ...(sharedConversations === 0 ? {} : { shared: sharedWith(sharedConversations) }),
      ...learnedFields({ runs, adapters }),
      ...(isWholeKey ? {} : { note: PSEUDONYM_HINT }),
    },
    context,
  );
  const past = erasures.map(({ id, state, startedAtMs, actor, removed }) =>
    fields({ erasure: id, state, started: when(startedAtMs), by: actor, removed: counts(removed) || "nothing" }, context),
  );
  return [lines, ...past].join("\n\n");
}

const STATES: Readonly<Record<ErasureReport["state"], string>> = {
  requested: "requested",
  started: "no query returns it any more; the leader removes objects and files as soon as its nights have let go of them",
  erased: "erased; the store's files are compacted next",
  compacted: "erased, and the store's files are compacted",
};

function describeErasure(report: ErasureReport, context: CliContext): string {
  const { id, subjectHash, state, removed, sharedConversations, runs, adapters, endedRuns } = report;
  return fields(
    {
      ...{ erasure: id, "tombstone hash": subjectHash, state: STATES[state], removed: counts(removed) || "nothing was held" },
      ...(sharedConversations === 0 ? {} : { shared: `${sharedConversations} conversations named other customers, too` }),
      ...learnedFields({ runs, adapters }),
      ...(endedRuns.length === 0 ? {} : { "ended nights": endedRuns.join(", ") }),
    },
    context,
  );
}

function learnedFields({ runs, adapters }: Pick<ErasureReport, "runs" | "adapters">): Record<string, string> {
  if (runs.length === 0 && adapters.length === 0) return { learned: "no run and no adapter" };
  return {
    "runs that learned": runs.join(", "),
    "adapters that learned": adapters.map(({ name, how }) => `${name} (${how})`).join(", ") || "none",
  };
}
