import { stripVTControlCharacters, styleText } from "node:util";
import Table from "cli-table3";
import type { CliContext, Style } from "./context.ts";

/** Removes what would steer a terminal: tool results and transcripts are anybody's text. Line breaks stay. */
export function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are the point
  return stripVTControlCharacters(text).replaceAll(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, " ");
}

/** One line of at most `width` characters. */
export function oneLine(text: string, width = 80): string {
  const line = plain(text).replaceAll(/\s+/g, " ").trim();
  return line.length > width ? `${line.slice(0, width - 1)}…` : line;
}

/** An aligned table without rules; cells are one line each. An empty one says so. */
export function table(head: readonly string[], rows: readonly (readonly unknown[])[], context: Pick<CliContext, "colours">): string {
  if (rows.length === 0) return "none";
  const none = Object.fromEntries(
    ["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left", "bottom-right"].map((name) => [name, ""]),
  );
  const lines = { ...none, left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "  " };
  const made = new Table({
    head: head.map((text) => paint("dim", text, context)),
    chars: lines,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  made.push(...rows.map((row) => row.map((cell) => oneLine(show(cell), 100))));
  return made
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** `key  value` lines; entries without a value are left out. */
export function fields(entries: Readonly<Record<string, unknown>>, context: Pick<CliContext, "colours">): string {
  const given = Object.entries(entries).filter(([, value]) => value !== undefined && value !== null);
  const width = Math.max(...given.map(([key]) => key.length));
  return given.map(([key, value]) => `${paint("dim", key.padEnd(width), context)}  ${oneLine(show(value), 300)}`).join("\n");
}

/** Colours on a terminal only. */
export function paint(style: Style, text: string, { colours }: Pick<CliContext, "colours">): string {
  return colours ? styleText(style, text, { validateStream: false }) : text;
}

export function when(ms: number | null | undefined): string {
  return ms === null || ms === undefined ? "" : new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}

/** A span of time as a person says it. */
export function duration(ms: number): string {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 120 ? `${minutes} min ${Math.round((ms % 60_000) / 1000)} s` : `${(ms / 3_600_000).toFixed(1)} h`;
}

export function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? "-" : `${(share * 100).toFixed(1)} %`;
}

/** `a 3, b 1`, most frequent first. */
export function counts(record: Readonly<Record<string, number>>): string {
  return Object.entries(record)
    .filter(([, count]) => count > 0)
    .toSorted((a, b) => b[1] - a[1])
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}

function show(value: unknown): string {
  if (value === null || value === undefined) return "-";
  return typeof value === "string" ? value : JSON.stringify(value);
}
