import { diffOf, type Hunk, type Token } from "./token-diff.ts";

/** Newest conversations that show which parts of the prompt vary. */
const MAX_EVIDENCE = 300;
/** Fewer conversations than this show no slot: what differs must look like a name or a time. */
const MIN_EVIDENCE = 5;
/** A value that holds for this many conversations in a row, on average, is a version of the prompt. What a slot holds changes faster. */
const VERSION_RUN = 3;
const MAX_SLOT_TOKENS = 8;

/**
 * Whether a prompt is the live one, which is the newest (`newestFirst[0]`). Times, names and ids may differ anywhere. Anything else only where the newest conversations show a slot: at least three values
 * that change from one conversation to the next, or two that take turns. What was one text until some moment and another since is a changed rule, however small. Pure; a distinct prompt costs its length,
 * and the square of what differs, which is bounded.
 */
export function livePrompt(newestFirst: readonly string[]): (prompt: string) => boolean {
  const live = sentencesOf(newestFirst[0] ?? "");
  const known = new Map<string, readonly Hunk[] | null>();
  const hunksOf = (prompt: string): readonly Hunk[] | null => {
    const found = known.get(prompt);
    if (found !== undefined) return found;
    const hunks = diffOf(live, sentencesOf(prompt));
    known.set(prompt, hunks);
    return hunks;
  };
  const inSlots = slotsOf(newestFirst.slice(0, MAX_EVIDENCE).map(hunksOf));
  // Where all differs there is no prompt around the slot.
  const slots = (hunk: Hunk): boolean => hunk.at !== `0-${live.length}` && inSlots(hunk);
  const verdicts = new Map<string, boolean>();
  return (prompt) => {
    const isLive = verdicts.get(prompt) ?? hunksOf(prompt)?.every((hunk) => varies(hunk) || slots(hunk)) ?? false;
    verdicts.set(prompt, isLive);
    return isLive;
  };
}

/** Sentences and lines, times taken out, spaces made one. */
function sentencesOf(prompt: string): readonly string[] {
  return withoutTimes(prompt)
    .split(/\n+|(?<=[.!?。！？])\s+/u)
    .map((sentence) => sentence.replace(/\s+/gu, " ").trim())
    .filter((sentence) => sentence !== "");
}

const MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]{0,6}\\.?";
const WEEKDAY = "(?:mon|tues|wednes|thurs|fri|satur|sun)day,? ";
/** A month counts beside a number only: "may" is also a word. */
const TIMES = new RegExp(
  [
    `(?:${WEEKDAY})?\\d{4}-\\d{2}-\\d{2}(?:[t ]\\d{2}:\\d{2}(?::\\d{2}(?:\\.\\d{1,9})?)?(?:z|[+-]\\d{2}:?\\d{2})?)?`,
    `(?:${WEEKDAY})?\\d{1,2}[./]\\d{1,2}[./]\\d{2,4}`,
    `(?:${WEEKDAY})?(?:\\d{1,2}(?:st|nd|rd|th|\\.)? )?${MONTH} \\d{1,4}(?:st|nd|rd|th)?(?:,? \\d{4})?`,
    `(?:${WEEKDAY})?\\d{1,2}(?:st|nd|rd|th|\\.)? ${MONTH}`,
    "\\d{1,2}:\\d{2}(?::\\d{2})?(?: ?[ap]m)?",
  ]
    .map((pattern) => `(?<![\\p{L}\\d])(?:${pattern})(?![\\p{L}\\d])`)
    .join("|"),
  "giu",
);

function withoutTimes(prompt: string): string {
  return prompt.replace(TIMES, "@");
}

interface Place {
  /** What stands there, newest conversation first; "" is the live text. */
  values: string[];
}

/** Where the newest conversations differ from the live prompt by turns: whether a hunk lies there. */
function slotsOf(evidence: readonly (readonly Hunk[] | null)[]): (hunk: Hunk) => boolean {
  const comparable = evidence.filter((hunks) => hunks !== null);
  const places = new Map<string, Place>();
  for (const [index, hunks] of comparable.entries()) {
    for (const hunk of hunks) {
      const place = places.get(hunk.at) ?? { values: Array.from({ length: comparable.length }, () => "") };
      place.values[index] = hunk.text;
      places.set(hunk.at, place);
    }
  }
  const free = new Set([...places].flatMap(([at, { values }]) => (isSlot(values) ? [at] : [])));
  return (hunk) => free.has(hunk.at) || takesTurns(places.get(hunk.at)?.values ?? [], hunk.text);
}

function isSlot(values: readonly string[]): boolean {
  return values.length >= MIN_EVIDENCE && new Set(values).size >= 3 && values.length / runsOf(values).length < VERSION_RUN;
}

/** Two prompts at a time, as in a trial: each comes again after the other. */
function takesTurns(values: readonly string[], text: string): boolean {
  const runs = runsOf(values);
  return runs.filter((value) => value === text).length >= 2 && runs.filter((value) => value === "").length >= 2;
}

function runsOf(values: readonly string[]): readonly string[] {
  return values.filter((value, index) => index === 0 || value !== values[index - 1]);
}

/** What differs may differ anywhere: names and ids on both sides, and few of them. */
function varies({ changes }: Hunk): boolean {
  return changes !== null && changes.every((tokens) => tokens.length <= MAX_SLOT_TOKENS && tokens.every(isName));
}

/** A capitalised word that begins no sentence, an address, an id or a long number. A short number may be a rule: 30 days, 50 euros. */
function isName({ text, isFirst }: Token): boolean {
  if (text === "@" || /^[\p{P}\p{S}]$/u.test(text)) return true;
  if (/\d/.test(text)) return /\d{5}/.test(text) || (/\p{L}/u.test(text) && text.length >= 4);
  return !isFirst && /^\p{Lu}\p{Ll}/u.test(text);
}
