import type { Scalar } from "../entities.ts";

/** A call's own time as an argument or an answer tells it is at most this far from when the call was made. */
const NEAR_MS = 60_000;
/** Last words of names whose values identify something: `order_id`, `orderId`, `order-no`. */
const ID_WORDS: ReadonlySet<string> = new Set(["id", "uuid", "guid", "number", "no", "key", "ref", "code", "sku"]);
const ISO_TIME = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const LONG_TOKEN = /^[\w+/=.~:-]{16,200}$/;

/** Milliseconds of a moment (ISO 8601 with a time, or a Unix time in seconds or milliseconds); null for anything else. A date alone is no moment. */
function momentOf(value: Scalar): number | null {
  if (typeof value === "string" && ISO_TIME.test(value)) {
    const zoned = /(?:Z|[+-]\d\d:?\d\d)$/.test(value) ? value : `${value}Z`;
    const ms = Date.parse(zoned.replace(" ", "T"));
    return Number.isNaN(ms) ? null : ms;
  }
  const number = typeof value === "string" && /^\d{10}(?:\d{3})?(?:\.\d+)?$/.test(value) ? Number(value) : value;
  if (typeof number !== "number") return null;
  if (number >= 1e9 && number < 1e10) return number * 1_000;
  return number >= 1e12 && number < 1e13 ? number : null;
}

/** Whether a value tells the time of a call that ran then. */
export function tellsNow(value: Scalar, call: { startedAtMs: number; latencyMs: number }): boolean {
  const ms = momentOf(value);
  return ms !== null && ms >= call.startedAtMs - NEAR_MS && ms <= call.startedAtMs + call.latencyMs + NEAR_MS;
}

/** Whether a value looks drawn: a UUID, or 16 and more letters and digits of which hardly one repeats more than chance would have it. */
export function looksDrawn(value: Scalar): boolean {
  if (typeof value !== "string") return false;
  if (UUID.test(value)) return true;
  if (!LONG_TOKEN.test(value) || !/\d/.test(value) || !/[a-z]/i.test(value)) return false;
  return entropyOf(value) >= 3;
}

/** Whether a value may identify something: no spaces, and a digit, an address or a pseudonym in it. Numbers only under a name that says so. */
export function looksLikeId(value: Scalar, name: string): boolean {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 && hasIdName(name);
  if (typeof value === "string" && /^[\d.,+-]+$/.test(value) && !hasIdName(name)) return false;
  if (typeof value !== "string" || value === "" || value.length > 128 || /\s/.test(value)) return false;
  return /\d|@|^<\w+>$/.test(value) && momentOf(value) === null && !/^\d{4}-\d\d-\d\d$/.test(value);
}

/** Whether a result's field may hold what an argument of this name holds: equal names, or `id` and `order_id`. */
export function plausibleNames(argument: string, field: string): boolean {
  const [one, other] = [plainName(argument), plainName(field)];
  if (one === other) return true;
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  return ID_WORDS.has(short) && long.endsWith(short);
}

/** What an id's name says of what it identifies: `order` of `order_id` and `orderId`; null of `id` alone. */
export function nounOf(name: string): string | null {
  const words = wordsOf(name);
  const noun = words.slice(0, -1).join("_");
  return hasIdName(name) && /^[\w]{1,64}$/.test(noun) ? noun : null;
}

/** Whether a name says that its values identify something. */
export function hasIdName(name: string): boolean {
  const last = wordsOf(name).at(-1) ?? "";
  return ID_WORDS.has(last) && (last === "id" || wordsOf(name).length > 1);
}

function wordsOf(name: string): string[] {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
}

function plainName(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "");
}

/** Shannon entropy of the characters, in bits a character. */
function entropyOf(text: string): number {
  const counts = new Map<string, number>();
  for (const letter of text) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  return [...counts.values()].reduce((sum, count) => sum - (count / text.length) * Math.log2(count / text.length), 0);
}
