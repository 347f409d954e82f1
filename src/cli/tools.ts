import type { Command } from "commander";
import type { ToolDetailView, ToolView } from "../api/tools.ts";
import type { ToolFact } from "../trajectory/tool-profile.ts";
import { chooseAgent } from "./agent.ts";
import { clientOptions, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { counts, duration, fields, oneLine, paint, percent, plain, table, when } from "./print.ts";

const EXAMPLES = `
Examples:
  nightshift tools
  nightshift tools lookup_order --agent shop-support
  nightshift tools --json`;

type Options = ClientOptions & { agent?: string };

/** `nightshift tools [tool]`: what is known of an agent's tools, and how. */
export function toolsCommand(program: Command, context: CliContext): void {
  clientOptions(program.command("tools [tool]"))
    .description("an agent's tools: class, roles, entities and errors, and how each is known")
    .option("-a, --agent <agent>", "agent; may be left out where there is one")
    .addHelpText("after", EXAMPLES)
    .action(async (tool: string | undefined, { agent, ...options }: Options) => {
      if (tool === undefined) {
        await printAnswer(
          options,
          context,
          async (client) => client.get<{ tools: ToolView[] }>("/v1/tools", { agent: await chooseAgent(client, agent) }),
          ({ tools }) => describeAll(tools, context),
        );
        return;
      }
      await printAnswer(
        options,
        context,
        async (client) => client.get<ToolDetailView>("/v1/tools", { agent: await chooseAgent(client, agent), tool }),
        (view) => describe(view, context),
      );
    });
}

function describeAll(tools: readonly ToolView[], context: CliContext): string {
  const rows = tools.map((view) => [
    view.tool,
    `${view.cls} (${view.evidence})`,
    dependsOn(view),
    Object.entries(view.argumentRoles)
      .map(([path, role]) => `${path} ${role}`)
      .join(", "),
    view.entityPaths.join(", "),
    view.volatileResultPaths.join(", "),
    view.calls,
    percent(view.errorRate),
    latency(view),
    view.freshnessMs === null ? "" : duration(view.freshnessMs),
    when(view.lastCallAtMs),
  ]);
  const head = ["tool", "class", "depends on", "roles", "entities", "volatile", "calls", "errors", "p50 / p95", "fresh for", "last call"];
  return table(head, rows, context);
}

function describe(view: ToolDetailView, context: CliContext): string {
  const lines = [
    fields(
      {
        tool: view.tool,
        class: `${view.cls} (${view.evidence})`,
        "depends on": dependsOn(view),
        "error path": view.errorPath,
        calls: view.calls,
        errors: `${view.errors} (${percent(view.errorRate)})`,
        "look like errors": Object.keys(view.errorShapes).length === 0 ? null : counts(view.errorShapes),
        "cut answers": view.cut === 0 ? null : view.cut,
        "p50 / p95": latency(view),
        "fresh for": view.freshnessMs === null ? null : duration(view.freshnessMs),
        "last call": when(view.lastCallAtMs),
      },
      context,
    ),
    ...["", paint("bold", "What is known, and how", context)],
    table(["about", "value", "from", "for", "against", "used", "note"], view.facts.map(factRow), context),
    ...demoted(view, context),
  ];
  if (view.errorExamples.length > 0) lines.push("", paint("bold", "Errors, as the tool told them", context));
  for (const { kind, shape, atMs, tape, arguments: args, result } of view.errorExamples) {
    lines.push(`${kind} (${shape.by}${shape.path === null ? "" : ` ${oneLine(shape.path)}`}), ${when(atMs)}, ${oneLine(tape)}`);
    lines.push(fenced(args), fenced(result));
  }
  if (view.resultSchema !== null) {
    lines.push("", paint("bold", "Schema of its answers", context), plain(JSON.stringify(view.resultSchema, null, 2)));
  }
  lines.push("", paint("bold", "To say all this in the config, below agents.<agent>.tools", context), plain(view.configSnippet));
  return lines.join("\n");
}

function factRow({ about, value, from, for: supporting, against, used, note }: ToolFact): unknown[] {
  return [about, value, from, supporting, against, used ? "yes" : "no", note];
}

function demoted({ facts }: ToolDetailView, context: CliContext): string[] {
  const found = facts.filter(({ from }) => from === "demoted");
  if (found.length === 0) return [];
  const said = found.map(({ about, value, note, for: supporting, against }) =>
    oneLine(`  ${about}: ${value}, because ${note} (${supporting} of ${supporting + against})`, 300),
  );
  return ["", paint("bold", "Demoted by what was recorded", context), ...said.map((line) => `  ${line}`)];
}

/** Anybody's text: a line of its own, behind a bar, without control characters. */
function fenced(text: string): string {
  return plain(text)
    .split("\n")
    .slice(0, 20)
    .map((line) => `  | ${line}`)
    .join("\n");
}

/** Of a tool whose answers no state changes, the scope says nothing. */
function dependsOn({ cls, scope }: ToolView): string {
  return cls === "pure" || cls === "constant" ? "nothing" : scope;
}

function latency({ latencyMs }: ToolView): string {
  return latencyMs.samples === 0 ? "" : `${latencyMs.p50.toFixed(0)} / ${latencyMs.p95.toFixed(0)} ms`;
}
