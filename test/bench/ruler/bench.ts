import { cpus } from "node:os";
import { rulerPrompt } from "../../../src/reward/ruler.ts";
import { median } from "../quantiles.ts";
import { benchGroups, type BenchGroup, type CallIds } from "./groups.ts";
import { ART, artEnvironment, artQuestions, countTokens, type WireQuestion } from "./partner.ts";
import { partsOfArts, partsOfOurs, type QuestionParts } from "./parts.ts";

/**
 * Tokens that a judge reads for one group in one pass: our prompt against ART's RULER for the same groups, by one tokenizer. Prints a table and, as the last line, its JSON.
 * `node test/bench/ruler/bench.ts [groups] [seed]`
 *
 * What the judge answers is not in it, and neither is how far it agrees with people: no judge is asked.
 */
const BAR = 0.6;

interface Side {
  tokens: number;
  parts: Record<keyof QuestionParts | "form", number>;
}

interface Compared {
  ids: CallIds;
  groups: number;
  toolResults: number;
  nightshift: Side;
  art: Side;
  /** Of all tokens of all groups, and of the middle group. */
  ratio: number;
  medianRatio: number;
}

const count = Number(process.argv[2] ?? 50);
const seed = Number(process.argv[3] ?? 20_261_122);
const binaries = await artEnvironment();
const results: Compared[] = [];
for (const ids of ["drawn", "replayed"] as const) results.push(await compare(benchGroups(count, seed, ids), ids));

for (const { ids, nightshift, art, ratio, medianRatio } of results) {
  say(`\nids of calls ${ids}: tokens per group and pass`);
  say(`${"".padEnd(14)}${"nightshift".padStart(12)}${"art".padStart(12)}${"ratio".padStart(9)}`);
  for (const part of ["instructions", "shared", "calls", "results", "said", "form"] as const)
    row(part, nightshift.parts[part], art.parts[part]);
  row("all", nightshift.tokens, art.tokens);
  say(`median ratio of a group ${medianRatio.toFixed(3)}; ${ratio <= BAR ? "holds " : "MISSED"} the bar of ${BAR}: ${ratio.toFixed(3)}`);
}
say("\nThe agreement with people is not measured here: no judge was asked. Answers are not counted.");
const bars = results.map(({ ids, ratio }) => ({
  what: `judge tokens per group and pass, ids ${ids}`,
  bar: `<= ${BAR} x ART's`,
  value: ratio,
  holds: ratio <= BAR,
}));
const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, node: process.version };
const isNumber = (_: string, value: unknown) => (typeof value === "number" ? Number(value.toPrecision(4)) : value);
say(
  JSON.stringify(
    {
      bench: "ruler",
      machine,
      partner: { name: ART.name, version: ART.version },
      tokenizer: "o200k_base",
      seed,
      agreement: "not measured",
      bars,
      results,
    },
    isNumber,
  ),
);

async function compare(groups: readonly BenchGroup[], ids: CallIds): Promise<Compared> {
  const ours = await sideOf(groups.map(ourQuestion), partsOfOurs);
  const theirs = await sideOf(await artQuestions(binaries, groups), partsOfArts);
  const ratios = ours.perGroup.map((tokens, index) => tokens / (theirs.perGroup[index] ?? 1));
  return {
    ...{ ids, groups: groups.length },
    toolResults: groups.flatMap(({ members }) => members.flat()).filter(({ role }) => role === "tool").length / groups.length,
    nightshift: ours.side,
    art: theirs.side,
    ratio: ours.side.tokens / theirs.side.tokens,
    medianRatio: median(ratios),
  };
}

function ourQuestion({ id, members, tools }: BenchGroup): WireQuestion {
  const shown = members.map((messages) => ({ messages, end: { status: "completed" } as const }));
  const prompt = rulerPrompt(shown, tools, { seed: `${id}/1`, maxPromptTokens: 1_000_000 });
  if (prompt === null || prompt.elided) throw new Error(`group ${id} was cut: the two sides would not say the same`);
  return { system: prompt.system, user: prompt.user };
}

/** Mean tokens per group, and each group's own. */
async function sideOf(
  questions: readonly WireQuestion[],
  partsOf: (question: WireQuestion) => QuestionParts,
): Promise<{ side: Side; perGroup: number[] }> {
  const systems = await countTokens(
    binaries,
    questions.map(({ system }) => system),
  );
  const users = await countTokens(
    binaries,
    questions.map(({ user }) => user),
  );
  const perGroup = systems.map((tokens, index) => tokens + (users[index] ?? 0));
  const parts = questions.map(partsOf);
  const names = ["instructions", "shared", "calls", "results", "said"] as const;
  const counts: Record<string, number> = {};
  for (const name of names)
    counts[name] = mean(
      await countTokens(
        binaries,
        parts.map((one) => one[name]),
      ),
    );
  const tokens = mean(perGroup);
  const form = tokens - Object.values(counts).reduce((sum, value) => sum + value, 0);
  return { side: { tokens, parts: { ...(counts as Record<keyof QuestionParts, number>), form } }, perGroup };
}

function row(name: string, ours: number, theirs: number): void {
  const ratio = theirs === 0 ? "-" : (ours / theirs).toFixed(3);
  say(`${name.padEnd(14)}${ours.toFixed(0).padStart(12)}${theirs.toFixed(0).padStart(12)}${ratio.padStart(9)}`);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
