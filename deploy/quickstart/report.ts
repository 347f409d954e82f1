import type { ExperimentView } from "./control.ts";
import type { Comparison, Share } from "./measure.ts";

/** Lines for the person who watches; with --json they go to stderr, so that stdout ends with the result. */
export interface Progress {
  say(line: string): void;
  step(step: string, ms: number, output: Record<string, unknown>): void;
  canary(experiment: ExperimentView): void;
}

export function createProgress(write: (line: string) => void): Progress {
  const started = Date.now();
  let lastCanary = "";
  const say = (line: string): void => write(`${((Date.now() - started) / 1000).toFixed(1).padStart(6)} s  ${line}`);
  return {
    say,
    step(step, ms, output) {
      const line = describeStep(step, output);
      if (line !== null) say(`${line} (${(ms / 1000).toFixed(1)} s)`);
    },
    canary(experiment) {
      const line = describeCanary(experiment);
      if (line !== lastCanary) say(line);
      lastCanary = line;
    },
  };
}

function describeStep(step: string, output: Record<string, unknown>): string | null {
  const [name = "", iteration] = step.split("-");
  switch (name) {
    case "select":
      return `night: ${show(output["trajectories"])} conversations, ${show(output["trainScenarios"])} scenarios to learn from, ${show(output["heldOutScenarios"])} held out`;
    case "groups": {
      const verdicts = Object.entries((output["verdicts"] ?? {}) as Record<string, number>).filter(([verdict]) => verdict !== "kept");
      const dropped = verdicts.map(([verdict, count]) => `${count} ${verdict}`).join(", ");
      const mean = typeof output["meanReward"] === "number" ? output["meanReward"].toFixed(2) : "–";
      return `night ${iteration}: rolled out and judged, mean reward ${mean}, kept ${show(output["kept"])} of ${show(output["groups"])} groups${dropped === "" ? "" : ` (${dropped})`}`;
    }
    case "train":
      return `night ${iteration}: trained ${show(output["name"])}`;
    default:
      return null;
  }
}

function describeCanary({ state, weight, numbers, conclusion }: ExperimentView): string {
  if (conclusion !== null) return `canary: ${state} (${conclusion.reason})`;
  if (numbers === null) return `canary: ${state}`;
  const evidence = `K⁺ ${short(numbers["kPromote"])}, K⁻ ${short(numbers["kHarm"])} of ${short(numbers["threshold"])}`;
  return `canary: ${state} at ${Math.round(weight * 100)} %, ${show(numbers["units"])} conversations scored, ${evidence}`;
}

/** One table: label and value. */
export function table(rows: readonly (readonly [string, string] | null)[]): string {
  const filled = rows.filter((row) => row !== null);
  const width = Math.max(...filled.map(([label]) => label.length));
  return filled.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`).join("\n");
}

export function comparisonRows(comparison: Comparison): [string, string][] {
  const [low, high] = comparison.interval.map(points);
  return [
    ["fresh customers", `${comparison.customers}, none of them trained on, the same ones before and after`],
    [
      "success before → after",
      `${percent(comparison.before)} → ${percent(comparison.after)}: ${points(comparison.difference)} points (95 % interval ${low} to ${high})`,
    ],
    ...comparison.slices.map(({ name, before, after }): [string, string] => [
      `  ${name}`,
      `${percent(before)} → ${percent(after)} (${after.of})`,
    ]),
  ];
}

export function percent({ successes, of }: Share): string {
  return of === 0 ? "–" : `${((100 * successes) / of).toFixed(1)} %`;
}

function points(share: number): string {
  return `${share >= 0 ? "+" : ""}${(100 * share).toFixed(1)}`;
}

function show(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "–";
}

function short(value: unknown): string {
  return typeof value === "number" ? (value >= 100 ? value.toFixed(0) : value.toPrecision(2)) : "–";
}
