import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Call } from "../trace/call.ts";
import type { Message, Part } from "../trace/message.ts";
import { pseudonym } from "../trace/pseudonym.ts";
import { authorOf } from "./assembly/items.ts";
import type { Detection, Detector } from "./detector.ts";

/** Takes out of calls what a detector finds in their messages, before anything is assembled of them. */
export interface Examiner {
  /** The same calls, conversation by conversation, with pseudonyms in place of what was found; idempotent. @throws what the detector throws: then nothing of it may be saved */
  examine(conversations: readonly Examined[], options?: { signal?: AbortSignal | undefined }): Promise<Call[][]>;
}

interface Examined {
  tenant: string;
  calls: readonly Call[];
}

/** Characters of examined messages that are remembered; every call of a conversation repeats the messages of the one before. */
const CACHE_CHARACTERS = 32 * 1024 * 1024;
/** Longer texts are examined in pieces: an analyzer takes time and memory by the square. */
const PIECE_CHARACTERS = 20_000;

/**
 * @param keyOf the tenant's redaction key: what the edge calls somebody, the detector calls them too
 */
export function createExaminer({ detector, keyOf }: { detector: Detector; keyOf: (tenant: string) => Uint8Array }): Examiner {
  const known = new LRUCache<string, { value: unknown }>({
    maxSize: CACHE_CHARACTERS,
    sizeCalculation: ({ value }, key) => key.length + (JSON.stringify(value) ?? "").length,
  });
  const underWay = new Map<string, Promise<unknown>>();

  /** Examined once, however many calls hold the same; a failure is not remembered. */
  async function once<T>(tenant: string, value: T, signal: AbortSignal): Promise<T> {
    const key = createHash("sha256")
      .update(`${tenant}\n${JSON.stringify(value)}`)
      .digest("base64url");
    const found = known.get(key);
    if (found !== undefined) return found.value as T;
    const running = underWay.get(key);
    if (running !== undefined) return running as Promise<T>;
    const examining = examineValue(value, { detector, key: keyOf(tenant), signal }).finally(() => underWay.delete(key));
    underWay.set(key, examining);
    const examined = await examining;
    known.set(key, { value: examined });
    return examined;
  }

  async function examineCall(tenant: string, call: Call, signal: AbortSignal): Promise<Call> {
    const messages = (list: readonly Message[]) => Promise.all(list.map((message) => once(tenant, message, signal)));
    if (call.kind === "inference") {
      const [input, output] = await Promise.all([messages(call.input), messages(call.output)]);
      return { ...call, input, output };
    }
    if (call.kind !== "tool") return call;
    const [args, result] = await Promise.all([once(tenant, call.arguments, signal), once(tenant, call.result, signal)]);
    return { ...call, arguments: args, result };
  }

  return {
    async examine(conversations, { signal } = {}) {
      // The first failure is everybody's: what waits behind it must not go on asking a detector that is down.
      const failed = new AbortController();
      const stop = AbortSignal.any([failed.signal, ...(signal === undefined ? [] : [signal])]);
      const working = conversations.map(({ tenant, calls }) => Promise.all(calls.map((call) => examineCall(tenant, call, stop))));
      try {
        return await Promise.all(working);
      } catch (error) {
        failed.abort(error);
        // Nothing may be left under way: the next examination would share its failure.
        await Promise.allSettled([...underWay.values()]);
        throw error;
      }
    },
  };
}

interface Context {
  detector: Detector;
  key: Uint8Array;
  signal: AbortSignal;
}

/** All texts of a value in one question, so that they are each other's context: names are told by what stands around them. */
async function examineValue<T>(value: T, context: Context): Promise<T> {
  const texts: string[] = [];
  eachText(value, (text) => void texts.push(text));
  if (texts.length === 0) return value;
  const examined = await examineTexts(texts, context);
  let next = 0;
  return mapTexts(value, () => examined[next++] ?? "") as T;
}

const SEPARATOR = "\n\n";

async function examineTexts(texts: readonly string[], context: Context): Promise<string[]> {
  const whole = texts.join(SEPARATOR);
  const detections = await detectAll(whole, context);
  let start = 0;
  return texts.map((text) => {
    const from = start;
    start += text.length + SEPARATOR.length;
    const inside = detections.flatMap((found): Detection[] => {
      // What reaches over the end of a text is cut at it: it is two findings.
      const [first, last] = [Math.max(found.start - from, 0), Math.min(found.end - from, text.length)];
      return first < last ? [{ ...found, start: first, end: last }] : [];
    });
    return replace(text, inside, context.key);
  });
}

async function detectAll(whole: string, { detector, signal }: Context): Promise<Detection[]> {
  const pieces = piecesOf(whole);
  const found = await Promise.all(pieces.map(({ text }) => detector.find(text, { signal })));
  return found.flatMap((detections, index) => {
    const offset = pieces[index]?.start ?? 0;
    return detections.map((detection) => ({ ...detection, start: detection.start + offset, end: detection.end + offset }));
  });
}

/** Cut between words where there are any, never inside a pair of surrogates. */
function piecesOf(text: string): { start: number; text: string }[] {
  const pieces: { start: number; text: string }[] = [];
  let start = 0;
  while (text.length - start > PIECE_CHARACTERS) {
    const limit = start + PIECE_CHARACTERS;
    const blank = Math.max(text.lastIndexOf("\n", limit), text.lastIndexOf(" ", limit));
    const split = blank > start ? blank + 1 : limit;
    const end = /[\udc00-\udfff]/.test(text[split] ?? "") ? split - 1 : split;
    pieces.push({ start, text: text.slice(start, end) });
    start = end;
  }
  return [...pieces, { start, text: text.slice(start) }];
}

/** Two spellings of a name that differ in case or blanks are one. */
function replace(text: string, detections: readonly Detection[], key: Uint8Array): string {
  const parts: string[] = [];
  let from = 0;
  for (const { start, end, kind } of detections) {
    const value = text.slice(start, end).normalize("NFC").toLowerCase().trim().replaceAll(/\s+/g, " ");
    parts.push(text.slice(from, start), value === "" ? text.slice(start, end) : pseudonym(kind, value, key));
    from = end;
  }
  return parts.length === 0 ? text : [...parts, text.slice(from)].join("");
}

/** Fields of parts that hold no words of anybody: kinds, names of tools, ids that pair calls with their results. */
const STRUCTURE: Readonly<Record<string, ReadonlySet<string>>> = {
  tool_call: new Set(["type", "id", "name"]),
  tool_call_response: new Set(["type", "id"]),
};
const OTHER_STRUCTURE: ReadonlySet<string> = new Set(["type", "id", "modality", "mime_type", "role"]);
/** Of messages. A tool's is its name in the code; anybody else's may be a person's. */
const MESSAGE_STRUCTURE: ReadonlySet<string> = new Set(["role", "id", "type", "finish_reason"]);
const TOOL_MESSAGE_STRUCTURE: ReadonlySet<string> = new Set([...MESSAGE_STRUCTURE, "name"]);

function eachText(value: unknown, visit: (text: string) => void): void {
  mapTexts(value, (text) => {
    visit(text);
    return text;
  });
}

/** A copy of a message, or of any JSON value, with its texts replaced, in a fixed order. */
function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (!isMessage(value)) return mapValue(value, change);
  const { parts, ...about } = value;
  const structure = authorOf(value.role) === "tool" ? TOOL_MESSAGE_STRUCTURE : MESSAGE_STRUCTURE;
  return { ...mapFields(about, structure, change), parts: parts.map((part) => mapPart(part, change)) };
}

function mapPart(part: Part, change: (text: string) => string): Part {
  const structure = (Object.hasOwn(STRUCTURE, part.type) ? STRUCTURE[part.type] : undefined) ?? OTHER_STRUCTURE;
  return mapFields(part, structure, change) as Part;
}

function mapFields(value: object, structure: ReadonlySet<string>, change: (text: string) => string): object {
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, structure.has(key) ? item : mapValue(item, change)]));
}

function mapValue(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === "string") return isWords(value) ? change(value) : value;
  if (Array.isArray(value)) return value.map((item: unknown) => mapValue(item, change));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapValue(item, change)]));
}

function isMessage(value: unknown): value is Message {
  if (typeof value !== "object" || value === null || !("role" in value)) return false;
  const { parts } = value as Partial<Message>;
  // A tool's arguments may look like a message and be none.
  return Array.isArray(parts) && parts.every((part: unknown) => typeof part === "object" && part !== null && "type" in part);
}

const DATA_URL = /^data:(?:application|audio|font|image|model|text|video)\/[\w.+-]+;base64,[\w+/-]*={0,2}$/;
const BASE64_OR_HEX = /^[\w+/-]+={0,2}$/;

/** Images and sounds in base64 are no words, and long. What only begins like them, or only lacks blanks, may hold a name. */
function isWords(text: string): boolean {
  return text.trim() !== "" && !DATA_URL.test(text) && (text.length < 2_000 || !BASE64_OR_HEX.test(text));
}
