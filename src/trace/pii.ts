import { isIPv6 } from "node:net";
import type { PiiKind } from "./pseudonym.ts";

/** One piece of personal data in a text. */
export interface PiiHit {
  start: number;
  end: number;
  kind: PiiKind;
  /** Normalised: equal for two spellings of the same thing. */
  value: string;
}

type Finder = (text: string) => PiiHit[];

/** In order of precedence: where two overlap, the earlier finder's hit stands. Every finder takes time linear in the text. */
const FINDERS: readonly Finder[] = [findEmails, findIbans, findCards, findPhones, findIps];

/** All personal data in `text`, ordered by position, without overlaps. */
export function findPii(text: string): PiiHit[] {
  const hits: PiiHit[] = [];
  // One mark per character, so that ten thousand hits cost no ten thousand squared.
  let taken: Uint8Array | null = null;
  for (const find of FINDERS) {
    for (const hit of find(text)) {
      taken ??= new Uint8Array(text.length);
      if (taken.subarray(hit.start, hit.end).includes(1)) continue;
      taken.fill(1, hit.start, hit.end);
      hits.push(hit);
    }
  }
  return hits.sort((a, b) => a.start - b.start);
}

/** Payment card in a bare number, where there is no text around it: a JSON number. */
export function isCardNumber(digits: string): boolean {
  return isCard(digits);
}

const LOCAL_CHAR = /[\p{L}\p{N}._%+'-]/u;
const MAX_LOCAL = 64;
const DOMAIN = /(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?\.){1,8}\p{L}{2,63}/uy;

function findEmails(text: string): PiiHit[] {
  const hits: PiiHit[] = [];
  let from = 0;
  for (let at = text.indexOf("@"); at !== -1; at = text.indexOf("@", at + 1)) {
    let start = at;
    while (start > from && at - start < MAX_LOCAL && LOCAL_CHAR.test(text[start - 1] ?? "")) start--;
    DOMAIN.lastIndex = at + 1;
    const domain = start === at ? null : DOMAIN.exec(text);
    if (domain === null) continue;
    from = at + 1 + domain[0].length;
    hits.push({ start, end: from, kind: "email", value: text.slice(start, from).toLowerCase() });
  }
  return hits;
}

const IBAN = /(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?!\w)/g;

function findIbans(text: string): PiiHit[] {
  const hits: PiiHit[] = [];
  for (const match of text.matchAll(IBAN)) {
    // A capitalised word behind the number looks like one more group of it.
    for (let end = match[0].length; end > 0; end = match[0].lastIndexOf(" ", end - 1)) {
      const value = match[0].slice(0, end).replaceAll(" ", "");
      if (!isIban(value)) continue;
      hits.push({ start: match.index, end: match.index + end, kind: "iban", value });
      break;
    }
  }
  return hits;
}

/** ISO 13616: rotated by four, letters as 10…35, the number modulo 97 is 1. */
function isIban(value: string): boolean {
  if (value.length < 15 || value.length > 34) return false;
  let remainder = 0;
  for (const char of value.slice(4) + value.slice(0, 4)) {
    const digit = Number.parseInt(char, 36);
    remainder = (digit > 9 ? remainder * 100 + digit : remainder * 10 + digit) % 97;
  }
  return remainder === 1;
}

const DIGIT_RUN = /(?<![\w.+-])\d+(?:[ -]\d+)*(?!\w)/g;

function findCards(text: string): PiiHit[] {
  const hits: PiiHit[] = [];
  for (const run of text.matchAll(DIGIT_RUN)) {
    const groups = [...run[0].matchAll(/\d+/g)].map((group) => ({ digits: group[0], start: run.index + group.index }));
    for (let first = 0; first < groups.length; first++) {
      const last = cardEnd(groups, first);
      if (last === null) continue;
      const value = digitsOf(groups, first, last);
      const end = groups[last];
      hits.push({ start: groups[first]?.start ?? 0, end: (end?.start ?? 0) + (end?.digits.length ?? 0), kind: "card", value });
      first = last;
    }
  }
  return hits;
}

/** Index of the group that ends the longest card which begins at `first`. At most 19 digits are looked at. */
function cardEnd(groups: readonly { digits: string }[], first: number): number | null {
  let digits = "";
  let found: number | null = null;
  for (let last = first; last < groups.length && digits.length <= 19; last++) {
    digits += groups[last]?.digits ?? "";
    if (isCard(digits)) found = last;
  }
  return found;
}

function digitsOf(groups: readonly { digits: string }[], first: number, last: number): string {
  return groups
    .slice(first, last + 1)
    .map((group) => group.digits)
    .join("");
}

/** Length and first digits of the card networks, and Luhn's check digit. Times in milliseconds or nanoseconds begin with 1 and stay. */
function isCard(digits: string): boolean {
  if (!/^(?:3[0-9]|4|5|6|2[2-7])\d{11,17}$/.test(digits) || digits.length < 13) return false;
  let sum = 0;
  for (let index = 0; index < digits.length; index++) {
    const digit = Number(digits[digits.length - 1 - index]);
    const doubled = digit * 2;
    sum += index % 2 === 0 ? digit : doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

// With a country code anything goes between the digits; without one only the spellings that nothing else uses:
// a bare number is an order, an amount or a time as often as a phone.
const INTERNATIONAL = /(?<![\w+])\+[\d(][\d ().\-/]{6,24}/g;
const NEXT_INTERNATIONAL = /\+[\d(][\d ().\-/]{6,24}/y;
const NATIONAL = [
  /(?<![\w.+-])(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?!\w|[-.]\d)/g,
  /(?<![\w.+-])0\d{2,4}[ /-]\d{3,4}(?:[ -]?\d{2,4}){1,2}(?!\w|[-.]\d)/g,
];

function findPhones(text: string): PiiHit[] {
  const hits: PiiHit[] = [];
  const add = (start: number, spelling: string) => {
    hits.push({ start, end: start + spelling.length, kind: "phone", value: spelling.replaceAll(/[^\d+]/g, "") });
  };
  for (const match of text.matchAll(INTERNATIONAL)) {
    let start = match.index;
    // A digit before the plus makes a sum of it, unless it is the last one of a number: they stand without a blank between.
    for (let spelling = phonePrefix(match[0]); spelling !== null; spelling = phoneAt(text, start)) {
      add(start, spelling);
      start += spelling.length;
    }
  }
  for (const pattern of NATIONAL) for (const match of text.matchAll(pattern)) add(match.index, match[0]);
  return hits;
}

function phoneAt(text: string, start: number): string | null {
  NEXT_INTERNATIONAL.lastIndex = start;
  const match = NEXT_INTERNATIONAL.exec(text);
  return match === null ? null : phonePrefix(match[0]);
}

/** The longest part that ends with a whole group of digits and has 8 to 15 digits (ITU-T E.164). */
function phonePrefix(candidate: string): string | null {
  let digits = 0;
  let end = 0;
  for (const group of candidate.matchAll(/\d+/g)) {
    digits += group[0].length;
    if (digits > 15) break;
    end = group.index + group[0].length;
  }
  const spelling = candidate.slice(0, end);
  return spelling.replaceAll(/\D/g, "").length >= 8 ? spelling : null;
}

const OCTET = "(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)";
const IPV4 = new RegExp(`(?<![\\w.])(?:${OCTET}\\.){3}${OCTET}(?!\\w|\\.\\d)`, "g");
const IPV6 = /(?<![\w:])[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,8}(?![\w:])/g;

function findIps(text: string): PiiHit[] {
  const hits: PiiHit[] = [];
  for (const match of text.matchAll(IPV4)) {
    // Loopback and "any" are nobody's address.
    if (!/^(?:127\.|0\.0\.0\.0$)/.test(match[0])) hits.push(ipHit(match));
  }
  for (const match of text.matchAll(IPV6)) {
    if (isIPv6(match[0]) && /\d/.test(match[0]) && match[0] !== "::1") hits.push(ipHit(match));
  }
  return hits;
}

function ipHit(match: RegExpExecArray): PiiHit {
  return { start: match.index, end: match.index + match[0].length, kind: "ip", value: match[0].toLowerCase() };
}
