import type { ExperimentView, RunView, Status } from "./control.ts";
import type { Served } from "./crowd.ts";
import type { Comparison } from "./measure.ts";
import type { Options } from "./options.ts";
import { comparisonRows, percent, table } from "./report.ts";
import type { Sabotage } from "./settings.ts";

/** Everything the quickstart found out; every number is from the run. */
export interface Result {
  seed: number;
  sabotage: Sabotage | null;
  /** "scripted", or the model that judged the night's groups. The gate's pairs always have the scripted judge. */
  judge: string;
  /** After set-up, from the first line to the last figure. */
  seconds: number;
  served: readonly Served[];
  funnel: Status["agents"][number]["funnel"];
  run: RunView;
  experiment: ExperimentView | null;
  /** Writes that the shop saw while the night replayed: 0. */
  replayWrites: number;
  comparison: Comparison;
  lineage: Record<string, unknown> | null;
  /** The conversation whose answer the lineage follows. */
  answered: string;
  address: string;
}

export function printResult(result: Result, options: Options): void {
  const out = options.json ? process.stderr : process.stdout;
  out.write(`\n${table(rowsOf(result))}\n\n`);
  out.write("This is a toy-sized model, so that it runs on a laptop; the loop is the one that runs in production.\n");
  const llm = result.judge === "scripted" ? "" : ` of the gate's pairs, groups were judged by ${result.judge}`;
  out.write(`The judge is scripted${llm} (it reads transcripts, never the shop); in production an LLM judges. `);
  out.write("Of the gate's suites only the held-out quality suite\n");
  out.write("ran, on the same evening's evaluation customers: the rule that they come after the training cut-off did not apply.\n");
  if (options.json) process.stdout.write(`${JSON.stringify(jsonOf(result))}\n`);
}

function rowsOf(result: Result): (readonly [string, string] | null)[] {
  const { funnel, run, experiment, comparison, served, sabotage } = result;
  const groups = groupTotals(run);
  const gate = experiment?.gate;
  return [
    sabotage === null ? null : ["SABOTAGE", sabotage === "gate" ? "trained on shuffled rewards" : "trained on inverted rewards, gate off"],
    [
      "day",
      `${served.length} conversations, ${percent({ successes: served.filter(({ outcome }) => outcome.success).length, of: served.length })} successful`,
    ],
    ["captured", `${funnel.captured} captured, ${funnel.complete} complete, ${funnel.trainable} trainable${reasons(funnel.reasons)}`],
    [
      "night",
      `${groups.rolledOut} groups rolled out, ${groups.kept} kept${reasons(groups.dropped)}; ${result.replayWrites} writes reached the shop`,
    ],
    [
      "run",
      run.outcome?.kind === "candidate"
        ? `candidate ${run.outcome.adapterName}`
        : `${run.outcome?.kind ?? run.state}: ${run.outcome?.reason ?? run.outcome?.message ?? ""}`,
    ],
    gate == null
      ? ["gate", experiment === null ? "not reached" : "off"]
      : [
          "gate",
          `${gate.decision} (${gate.reason}): ${gate.wins} better, ${gate.losses} worse, ${gate.ties} alike over ${gate.units} customers; K ${gate.kPromote.toPrecision(3)} of ${gate.threshold}`,
        ],
    ["canary", experiment === null || experiment.state === "refused" ? "not reached" : canaryLine(experiment)],
    ...comparisonRows(comparison),
    ["lineage", lineageLine(result)],
    ["seconds", result.seconds.toFixed(1)],
    ["page", result.address],
  ];
}

function canaryLine({ state, conclusion, numbers }: ExperimentView): string {
  const share = (value: unknown): string => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "–");
  const figures =
    numbers === null
      ? ""
      : `; ${Number(numbers["units"])} conversations scored, stable ${share(numbers["successStable"])}, candidate ${share(numbers["successCandidate"])}`;
  return `${state}${conclusion === null ? "" : ` (${conclusion.reason})`}${figures}`;
}

function lineageLine({ lineage, answered }: Result): string {
  const adapters = (lineage?.["adapters"] ?? []) as { name: string }[];
  if (adapters.length === 0) return `${answered} was answered by the base model`;
  return `${answered} ← ${adapters[0]?.name} ← ${String(lineage?.["conversations"])} conversations (${adapters.length} adapters back to the base)`;
}

function groupTotals(run: RunView): { rolledOut: number; kept: number; dropped: Record<string, number> } {
  const totals = { rolledOut: 0, kept: 0, dropped: {} as Record<string, number> };
  for (const { step, output } of run.steps) {
    if (!step.startsWith("groups-") || output === null) continue;
    totals.rolledOut += Number(output["groups"]);
    totals.kept += Number(output["kept"]);
    for (const [verdict, count] of Object.entries(output["verdicts"] as Record<string, number>)) {
      if (verdict !== "kept") totals.dropped[verdict] = (totals.dropped[verdict] ?? 0) + count;
    }
  }
  return totals;
}

function reasons(counts: Record<string, number>): string {
  const parts = Object.entries(counts).map(([reason, count]) => `${count} ${reason}`);
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}

function jsonOf(result: Result): Record<string, unknown> {
  const { served, comparison, run, experiment, funnel } = result;
  return {
    seed: result.seed,
    sabotage: result.sabotage,
    judge: result.judge,
    seconds: Number(result.seconds.toFixed(1)),
    day: { conversations: served.length, successes: served.filter(({ outcome }) => outcome.success).length },
    success: {
      before: comparison.before,
      after: comparison.after,
      difference: comparison.difference,
      interval95: comparison.interval,
      slices: comparison.slices,
    },
    funnel: { ...funnel, groups: groupTotals(run) },
    replayWrites: result.replayWrites,
    run: { id: run.id, state: run.state, outcome: run.outcome },
    adapter: experiment?.candidate ?? null,
    gate: experiment?.gate ?? null,
    decision: experiment === null ? (run.outcome?.kind ?? run.state) : experiment.state,
    conclusion: experiment?.conclusion ?? null,
    canary: experiment?.numbers ?? null,
    lineage: result.lineage,
  };
}
