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
    if (text.includes("\\")) return redactPlain(await redactLiterals(text, key, depth), key);
  }
  return redactPlain(text, key);
}

async function redactPlain(text: string, key: Uint8Array): Promise<string> {
  if (!mayNeedRedaction(text)) return text;
  let current = text;
  const rounds = Math.max(MAX_ROUNDS, Math.min(MAX_GLUED_ROUNDS, Math.floor(MAX_GLUED_WORK / text.length)));
  for (let round = 0; round < rounds; round++) {
    const next = redactPii(await redactSecrets(current, key), key);
    if (next === current) return current;
    current = next;
  }
  throw new Unredactable("replacements do not settle");
}

async function redactSecrets(text: string, key: Uint8Array): Promise<string> {
  const hits = await findSecrets(text);
  const fresh = hits.filter((hit) => !PSEUDONYM.test(text.slice(hit.start, hit.end)));
  return replace(
    text,
    fresh.map((hit) => ({ ...hit, kind: "secret", value: text.slice(hit.start, hit.end) })),
    key,
  );
}

function redactPii(text: string, key: Uint8Array): string {
  return replace(text, findPii(text), key);
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

/**
 * Redacts what is quoted in a text that begins like JSON and is none, mostly because it was cut off, with its escapes undone: the letter of an escaped line end would be glued to what stands
 * behind it. What cannot be read stays as it is.
 */
async function redactLiterals(text: string, key: Uint8Array, depth: number): Promise<string> {
  if (depth >= MAX_JSON_DEPTH) throw new Unredactable("JSON strings are nested too deeply");
  const parts: string[] = [];
  let end = 0;
  for (let start = text.indexOf('"'); start !== -1; start = text.indexOf('"', end)) {
    parts.push(await redactBetweenEscapes(text.slice(end, start), key));
    end = literalEnd(text, start);
    const literal = text.slice(start, end);
    parts.push(isJson(literal) ? await redactLiteral(literal, key, depth) : await redactCutLiteral(literal, key, depth));
  }
  parts.push(await redactBetweenEscapes(text.slice(end), key));
  return parts.join("");
}

/** Of what is not quoted, or only seems not to be, because a quote too many stands before it. */
async function redactBetweenEscapes(text: string, key: Uint8Array): Promise<string> {
  if (!text.includes("\\") || !mayNeedRedaction(text)) return text;
  const parts: string[] = [];
  for (const part of text.split(/(\\[bfnrt])/)) parts.push(await redactPlain(part, key));
  return parts.join("");
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
