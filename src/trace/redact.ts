import { findPii, isCardNumber } from "./pii.ts";
import { pseudonym, PSEUDONYM, type PiiKind } from "./pseudonym.ts";
import { findSecrets, SECRET_HINT } from "./secrets.ts";

/** Content that cannot be read for redaction, and therefore must not be stored. */
export class Unredactable extends Error {
  constructor(problem: string) {
    super(`content cannot be redacted: ${problem}`);
    this.name = "Unredactable";
  }
}

/** JSON inside a JSON string inside a JSON string…: each level doubles the escapes, so nothing real is deeper. */
const MAX_JSON_DEPTH = 6;
/** A replacement lets its neighbour match that was glued to it; the second or third round finds nothing more, but in what somebody glued together on purpose. */
const MAX_ROUNDS = 5;
const MAX_GLUED_ROUNDS = 64;
/** Characters that more rounds than the usual ones may go through. */
const MAX_GLUED_WORK = 2_000_000;

/**
 * Takes secrets and personal data out of `text`; each is replaced by its pseudonym under `key`. Clean text comes back as the same string.
 * Text that is JSON is redacted string by string, with its escapes undone, and stays valid JSON; all other characters stay as they were.
 * Idempotent; time linear in the text.
 * @throws Unredactable
 */
export async function redactText(text: string, key: Uint8Array): Promise<string> {
  return redactAt(text, key, 0);
}

/** Whether `text` could hold anything to redact; a false alarm costs time only. */
export function mayNeedRedaction(text: string): boolean {
  return /@|\\u00|\d[\d ().\-/]{5,40}\d|\d\.\d{1,3}\.\d|:[0-9a-fA-F]{0,4}:|[A-Z]{2}\d{2} ?[A-Z0-9]{4}/.test(text) || SECRET_HINT.test(text);
}

async function redactAt(text: string, key: Uint8Array, depth: number): Promise<string> {
  if (!mayNeedRedaction(text)) return text;
  if (/^\s*[[{"]/.test(text)) {
    if (isJson(text)) return redactJson(text, key, depth);
    // Cut off in the middle by an SDK's length limit: characters that escapes spell out may lie on either side of the cut, so it cannot be searched.
    if (/^\s*[[{]\s*["{[]/.test(text) && /\\u00[2-7]/.test(text)) throw new Unredactable("truncated JSON with escaped characters");
  }
  // JSON may stand behind a fence, the name of an event or a sentence, and lack its beginning as well as its end.
  return redactPlain(text.includes("\\") ? await redactEscaped(text, key, depth) : text, key);
}

/** What is searched in place of a text: of the same length, so that what is found lies at the same place. */
type Reading = (text: string) => string;

const asWritten: Reading = (text) => text;

async function redactPlain(text: string, key: Uint8Array, reading: Reading = asWritten): Promise<string> {
  if (!mayNeedRedaction(text)) return text;
  let current = text;
  const rounds = Math.max(MAX_ROUNDS, Math.min(MAX_GLUED_ROUNDS, Math.floor(MAX_GLUED_WORK / text.length)));
  for (let round = 0; round < rounds; round++) {
    const next = redactPii(await redactSecrets(current, key, reading), key, reading);
    if (next === current) return current;
    current = next;
  }
  throw new Unredactable("replacements do not settle");
}

async function redactSecrets(text: string, key: Uint8Array, reading: Reading): Promise<string> {
  const hits = await findSecrets(reading(text));
  const fresh = hits.filter((hit) => !PSEUDONYM.test(text.slice(hit.start, hit.end)));
  return replace(
    text,
    fresh.map((hit) => ({ ...hit, kind: "secret", value: text.slice(hit.start, hit.end) })),
    key,
  );
}

function redactPii(text: string, key: Uint8Array, reading: Reading): string {
  return replace(text, findPii(reading(text)), key);
}

function replace(text: string, hits: readonly { start: number; end: number; kind: PiiKind; value: string }[], key: Uint8Array): string {
  if (hits.length === 0) return text;
  const parts: string[] = [];
  let from = 0;
  for (const hit of hits) {
    parts.push(text.slice(from, hit.start), pseudonym(hit.kind, hit.value, key));
    from = hit.end;
  }
  parts.push(text.slice(from));
  return parts.join("");
}

/** Redacts the strings and numbers of valid JSON in place: whitespace, key order and number spellings stay as they came. */
async function redactJson(text: string, key: Uint8Array, depth: number): Promise<string> {
  if (depth >= MAX_JSON_DEPTH) throw new Unredactable("JSON strings are nested too deeply");
  const parts: string[] = [];
  let from = 0;
  for (const token of jsonTokens(text)) {
    const source = text.slice(token.start, token.end);
    const redacted = source.startsWith('"') ? await redactLiteral(source, key, depth) : redactNumber(source, key);
    if (redacted === source) continue;
    parts.push(text.slice(from, token.start), redacted);
    from = token.end;
  }
  parts.push(text.slice(from));
  return parts.length === 1 ? text : parts.join("");
}

/** How JSON spells a character that is not itself; its last letter or digit would be glued to what stands behind it. */
const ESCAPE = /\\(?:[bfnrt]|u[0-9a-fA-F]{4})/g;

/** In one go: each run of the secrets' rules costs more than a kilobyte of text. */
const betweenEscapes: Reading = (text) => text.replaceAll(ESCAPE, (escape) => "\n".repeat(escape.length));

/**
 * Redacts a text that is not JSON but may hold some, whole or cut off: what is quoted with its escapes undone, then, because a quote too many may stand before it or an escape be none of JSON's, what
 * stands between escapes. What lies across them is left to whoever reads the text as it is written.
 */
async function redactEscaped(text: string, key: Uint8Array, depth: number): Promise<string> {
  if (depth >= MAX_JSON_DEPTH) throw new Unredactable("JSON strings are nested too deeply");
  const parts: string[] = [];
  let end = 0;
  for (let start = text.indexOf('"'); start !== -1; start = text.indexOf('"', end)) {
    parts.push(text.slice(end, start));
    end = literalEnd(text, start);
    const literal = text.slice(start, end);
    if (!literal.includes("\\")) parts.push(literal);
    else parts.push(isJson(literal) ? await redactLiteral(literal, key, depth) : await redactCutLiteral(literal, key, depth));
  }
  parts.push(text.slice(end));
  return redactPlain(parts.join(""), key, betweenEscapes);
}

/** One without its end, maybe in the midst of an escape. */
async function redactCutLiteral(literal: string, key: Uint8Array, depth: number): Promise<string> {
  // An even number of backslashes spell themselves.
  const [, backslashes = "", hex = ""] = /(?<!\\)(\\+)(u[0-9a-fA-F]{0,3})?$/.exec(literal) ?? [];
  const end = literal.length - (backslashes.length % 2 === 0 ? 0 : 1 + hex.length);
  const closed = `${literal.slice(0, end)}"`;
  return isJson(closed) ? `${(await redactLiteral(closed, key, depth)).slice(0, -1)}${literal.slice(end)}` : literal;
}

async function redactLiteral(literal: string, key: Uint8Array, depth: number): Promise<string> {
  const value = JSON.parse(literal) as string;
  const redacted = await redactAt(value, key, depth + 1);
  return redacted === value ? literal : JSON.stringify(redacted);
}

function redactNumber(source: string, key: Uint8Array): string {
  return isCardNumber(source) ? JSON.stringify(pseudonym("card", source, key)) : source;
}

/** Ranges of the string literals and of whole numbers of valid JSON that are as long as a card's. A fraction's digits are no number of their own. */
function* jsonTokens(text: string): Generator<{ start: number; end: number }> {
  const interesting = /"|(?<![\d.eE+-])\d{13,19}(?![\d.eE])/g;
  for (let match = interesting.exec(text); match !== null; match = interesting.exec(text)) {
    const start = match.index;
    const end = match[0] === '"' ? literalEnd(text, start) : start + match[0].length;
    yield { start, end };
    interesting.lastIndex = end;
  }
}

/** Behind the closing quote, or the end of a text that was cut off before it. */
function literalEnd(text: string, start: number): number {
  let position = start + 1;
  while (position < text.length && text[position] !== '"') position += text[position] === "\\" ? 2 : 1;
  return Math.min(position + 1, text.length);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
