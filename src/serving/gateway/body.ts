import type { IncomingMessage } from "node:http";

/** Reads a request's body; null when it is longer than `maxBytes` (the rest is left unread). Rejects when the client goes away. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | null> {
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) return Promise.resolve(null);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBytes) {
        request.pause();
        resolve(null);
        return;
      }
      chunks.push(chunk);
    });
    request.once("end", () => resolve(chunks.length === 1 ? (chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(chunks, size)));
    request.once("error", reject);
    request.once("close", () => reject(new Error("the client went away")));
  });
}

/** Parses a body that must be a JSON object; null when it is not. */
export function parseObject(body: Buffer): Record<string, unknown> | null {
  try {
    const parsed: unknown = JSON.parse(body.toString("utf8"));
    return parsed !== null && typeof parsed === "object" && !Array.isArray(parsed) ? (parsed as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = new Set([0x7b, 0x5b]);
const CLOSE = new Set([0x7d, 0x5d]);
const COLON = 0x3a;
const WHITESPACE = new Set([0x20, 0x09, 0x0a, 0x0d]);

/**
 * The body with another top-level `model`, every other byte as it came: re-serialising would round large numbers and reorder nothing for nothing.
 * `body` must be valid JSON, an object, with a string `model`. A repeated key is rewritten each time, since parsers differ in which one they take.
 */
export function withModel(body: Buffer, model: string): Buffer {
  const value = Buffer.from(JSON.stringify(model));
  const parts: Buffer[] = [];
  let copied = 0;
  for (const [start, end] of modelValues(body)) {
    parts.push(body.subarray(copied, start), value);
    copied = end;
  }
  parts.push(body.subarray(copied));
  return Buffer.concat(parts);
}

/** Byte ranges of the string values of top-level `model` keys, quotes included, in order. */
function modelValues(body: Buffer): readonly (readonly [number, number])[] {
  return onlyModelValue(body) ?? everyModelValue(body);
}

const MODEL_KEY = Buffer.from('"model"');

/**
 * The usual body by searches, three times as fast as a scan of its bytes: there is a top-level key, so if `"model"` occurs once and no letter of it may be
 * written as an escape, that occurrence is the key. Null where it takes the scan to know.
 */
function onlyModelValue(body: Buffer): readonly (readonly [number, number])[] | null {
  const at = body.indexOf(MODEL_KEY);
  if (at === -1 || body.includes(MODEL_KEY, at + 1) || body.includes("\\u00")) return null;
  const start = skipWhitespace(body, skipWhitespace(body, at + MODEL_KEY.length) + 1);
  return [[start, stringEnd(body, start)]];
}

function everyModelValue(body: Buffer): readonly (readonly [number, number])[] {
  const ranges: [number, number][] = [];
  let depth = 0;
  for (let at = 0; at < body.length; at++) {
    const byte = body[at] ?? 0;
    if (OPEN.has(byte)) depth++;
    else if (CLOSE.has(byte)) depth--;
    if (byte !== QUOTE) continue;
    const end = stringEnd(body, at);
    const next = skipWhitespace(body, end);
    if (depth === 1 && body[next] === COLON && isModelKey(body, at, end)) {
      const start = skipWhitespace(body, next + 1);
      if (body[start] === QUOTE) {
        ranges.push([start, stringEnd(body, start)]);
        at = stringEnd(body, start) - 1;
        continue;
      }
    }
    at = end - 1;
  }
  return ranges;
}

/** Index after the closing quote of the string that opens at `start`. Bytes of multi-byte characters are never a quote. */
function stringEnd(body: Buffer, start: number): number {
  for (let quote = body.indexOf(QUOTE, start + 1); quote !== -1; quote = body.indexOf(QUOTE, quote + 1)) {
    let backslashes = 0;
    while (body[quote - 1 - backslashes] === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
  }
  return body.length;
}

function isModelKey(body: Buffer, start: number, end: number): boolean {
  // "model" is 7 bytes with quotes; a longer spelling can only be one with \u escapes, at most 6 bytes a letter.
  if (end - start < 7 || end - start > 32) return false;
  return JSON.parse(body.toString("utf8", start, end)) === "model";
}

function skipWhitespace(body: Buffer, from: number): number {
  let at = from;
  while (WHITESPACE.has(body[at] ?? 0)) at++;
  return at;
}
