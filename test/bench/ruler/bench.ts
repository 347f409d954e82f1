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
const PARTS = ["instructions", "shared", "calls", "results", "said"] as const;

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
if (!Number.isInteger(count) || count < 1 || !Number.isInteger(seed)) {
  throw new RangeError(`npm run bench -- ruler [groups] [seed] takes whole numbers, received ${process.argv.slice(2).join(" ")}`);
}
const binaries = await artEnvironment();
const KINDS = ["drawn", "replayed"] as const;
const groups = KINDS.map((ids) => benchGroups(count, seed, ids));
const ours = groups.flat().map(ourQuestion);
// In one process each: starting ART takes longer than its questions.
const theirs = await artQuestions(binaries, groups.flat());
const counts = await countQuestions([
  ...ours.map((question) => ({ question, parts: partsOfOurs(question) })),
  ...theirs.map((question) => ({ question, parts: partsOfArts(question) })),
]);
const results = KINDS.map((ids, index) => {
  const of = (from: number) => counts.slice(from + index * count, from + (index + 1) * count);
  return compare(ids, groups[index] ?? [], of(0), of(ours.length));
});

for (const { ids, nightshift, art, ratio, medianRatio } of results) {
  say(`\nids of calls ${ids}: tokens per group and pass`);
  say(`${"".padEnd(14)}${"nightshift".padStart(12)}${"art".padStart(12)}${"ratio".padStart(9)}`);
  for (const part of [...PARTS, "form" as const]) row(part, nightshift.parts[part], art.parts[part]);
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
const isNumber = (_: string, value: unknown) =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value;
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

function compare(ids: CallIds, groups: readonly BenchGroup[], ours: readonly Side[], theirs: readonly Side[]): Compared {
  const [nightshift, art] = [meanOf(ours), meanOf(theirs)];
  return {
    ...{ ids, groups: groups.length },
    toolResults: groups.flatMap(({ members }) => members.flat()).filter(({ role }) => role === "tool").length / groups.length,
    ...{ nightshift, art },
    ratio: nightshift.tokens / art.tokens,
    medianRatio: median(ours.map(({ tokens }, index) => tokens / (theirs[index]?.tokens ?? 1))),
  };
}

function ourQuestion({ id, members, tools }: BenchGroup): WireQuestion {
  const shown = members.map((messages) => ({ messages, end: { status: "completed" } as const }));
  const prompt = rulerPrompt(shown, tools, { seed: `${id}/1`, maxPromptTokens: 1_000_000 });
  if (prompt === null || prompt.elided) throw new Error(`group ${id} was cut: the two sides would not say the same`);
  return { system: prompt.system, user: prompt.user };
}

/** Tokens of every question, whole and by its parts. */
async function countQuestions(asked: readonly { question: WireQuestion; parts: QuestionParts }[]): Promise<Side[]> {
  const texts = asked.flatMap(({ question, parts }) => [question.system, question.user, ...PARTS.map((part) => parts[part])]);
  const counted = await countTokens(binaries, texts);
  const each = 2 + PARTS.length;
  return asked.map((_, index) => {
    const [system = 0, user = 0, ...rest] = counted.slice(index * each, (index + 1) * each);
    const tokens = system + user;
    const parts = Object.fromEntries(PARTS.map((part, at) => [part, rest[at] ?? 0])) as Record<keyof QuestionParts, number>;
    return { tokens, parts: { ...parts, form: tokens - rest.reduce((sum, value) => sum + value, 0) } };
  });
}

function meanOf(sides: readonly Side[]): Side {
  const parts = Object.fromEntries([...PARTS, "form" as const].map((part) => [part, mean(sides.map((side) => side.parts[part]))]));
  return { tokens: mean(sides.map(({ tokens }) => tokens)), parts: parts as Side["parts"] };
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
