import { ATTRIBUTE } from "../telemetry.ts";
import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { redactionKeyId } from "./redaction-key.ts";
import { mayNeedRedaction, redactText, Unredactable } from "./redact.ts";
import { concatBytes, delimited, eachField, lengthDelimited, SHAPE, type MessageShape, type Signal } from "./wire.ts";

/** Takes secrets and personal data out of whole requests, with the key of the tenant that sent them. */
export interface Redactor {
  /** Resolves to the same array when there was nothing to take out. @throws NightshiftError `otlp_malformed` */
  redactRequest(bytes: Uint8Array, signal: Signal, tenant: string): Promise<Uint8Array>;
  /** Names the tenant's key without telling it. */
  keyId(tenant: string): string;
}

/** A redactor with one key per tenant, which counts what it changed. */
export function createRedactor(keyOf: (tenant: string) => Uint8Array): Redactor {
  const texts = createCounter(METRIC.redactionTexts);
  return {
    redactRequest: (bytes, signal, tenant) =>
      redactRequest(bytes, signal, keyOf(tenant), (outcome) =>
        texts.add(1, { "nightshift.signal": signal, "nightshift.outcome": outcome }),
      ),
    keyId: (tenant) => redactionKeyId(keyOf(tenant)),
  };
}

/**
 * Redacts every text of a request: attribute keys and values, log bodies, names, messages. Clean bytes come back as the same array; in others only the
 * fields that changed and the lengths around them are rewritten, everything else (unknown fields too) stays byte for byte.
 * Text that cannot be read for redaction is emptied, and its span, log record or resource gets the attribute `nightshift.pii_unredacted`.
 * @param changed hears of every text that does not stay as it was
 * @throws NightshiftError `otlp_malformed`
 */
export async function redactRequest(
  bytes: Uint8Array,
  signal: Signal,
  key: Uint8Array,
  changed: (outcome: "replaced" | "dropped") => void = () => undefined,
): Promise<Uint8Array> {
  if (!mayNeedRedactionAnywhere(bytes)) return bytes;
  const rewrite = async (text: string): Promise<string | null> => {
    const redacted = await redactOrDrop(text, key);
    if (redacted !== text) changed(redacted === null ? "dropped" : "replaced");
    return redacted;
  };
  return rewriteTexts(bytes, signal, { looksAt: mayNeedRedaction, rewrite });
}

/** A string of a whole request would be as large as the request, and of those the process would be full. */
const WINDOW_BYTES = 64 * 1024;
/** More than `mayNeedRedaction` looks at in one place. */
const OVERLAP_BYTES = 1024;

/** One look over all bytes finds the clean majority; latin1 makes a string of the same length without decoding. */
function mayNeedRedactionAnywhere(bytes: Uint8Array): boolean {
  for (let start = 0; start < bytes.length; start += WINDOW_BYTES) {
    if (mayNeedRedaction(latin1(bytes, start, Math.min(bytes.length, start + WINDOW_BYTES + OVERLAP_BYTES)))) return true;
  }
  return false;
}

/** What is done to the texts of a request. */
export interface TextRewrite {
  /** Whether a text is of interest, by its bytes read as latin1: decoding the others is what costs. */
  looksAt: (latin1: string) => boolean;
  /** The text as it should be; null empties it, and flags what holds it as `nightshift.pii_unredacted`. */
  rewrite: (text: string) => Promise<string | null>;
}

/** Rewrites texts of a request, byte by byte what was not touched. Resolves to the same array when nothing was. @throws NightshiftError `otlp_malformed` */
export async function rewriteTexts(bytes: Uint8Array, signal: Signal, { looksAt, rewrite }: TextRewrite): Promise<Uint8Array> {
  const shape = SHAPE[signal].request;
  const edits: Edit[] = [];
  const flagged = new Set<number>();
  for (const text of listTexts(bytes, shape, looksAt)) {
    const before = utf8(bytes, text.valueStart, text.end);
    const after = await rewrite(before);
    if (after === before) continue;
    edits.push({ start: text.start, end: text.end, bytes: [lengthDelimited(text.number, [Buffer.from(after ?? "")])] });
    if (after === null && text.owner !== null && !flagged.has(text.owner.at)) {
      flagged.add(text.owner.at);
      edits.push({ start: text.owner.at, end: text.owner.at, bytes: [flagAttribute(text.owner.attributesField)] });
    }
  }
  if (edits.length === 0) return bytes;
  edits.sort((a, b) => a.start - b.start || a.end - b.end);
  return concatBytes(splice(bytes, { start: 0, end: bytes.length }, shape, edits));
}

async function redactOrDrop(text: string, key: Uint8Array): Promise<string | null> {
  try {
    return await redactText(text, key);
  } catch (cause) {
    if (cause instanceof Unredactable) return null;
    throw cause;
  }
}

interface TextField {
  number: number;
  start: number;
  valueStart: number;
  end: number;
  /** The record or resource around it: where its content starts, and in which field it keeps attributes. */
  owner: Owner | null;
}

interface Owner {
  at: number;
  attributesField: number;
}

const ATTRIBUTES_FIELD: Readonly<Record<string, number>> = { Span: 9, LogRecord: 6, Resource: 1 };

/** The text fields that may hold something, in wire order. */
function listTexts(bytes: Uint8Array, shape: MessageShape, looksAt: TextRewrite["looksAt"]): TextField[] {
  const texts: TextField[] = [];
  const walk = (message: MessageShape, start: number, end: number, around: Owner | null): void => {
    const attributesField = ATTRIBUTES_FIELD[message.name];
    const owner = attributesField === undefined ? around : { at: start, attributesField };
    eachField(bytes, start, end, message, (field) => {
      if (field.shape?.message) walk(field.shape.message, field.valueStart, field.end, owner);
      else if (field.shape?.text && looksAt(latin1(bytes, field.valueStart, field.end))) {
        texts.push({ number: field.number, start: field.start, valueStart: field.valueStart, end: field.end, owner });
      }
    });
  };
  walk(shape, 0, bytes.length, null);
  return texts;
}

/** Replaces the bytes [start, end) by `bytes`; start === end inserts. */
interface Edit {
  start: number;
  end: number;
  bytes: readonly Uint8Array[];
}

/**
 * The message content with `edits` (ordered, within it, each on field boundaries) applied and the lengths of nested messages made right, in pieces: each level that put them together would
 * copy the whole request once more.
 */
function splice(bytes: Uint8Array, range: { start: number; end: number }, shape: MessageShape, edits: readonly Edit[]): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let kept = range.start;
  let next = 0;
  const applyAt = (position: number): void => {
    for (let edit = edits[next]; edit !== undefined && edit.start === position; edit = edits[++next]) {
      parts.push(bytes.subarray(kept, edit.start), ...edit.bytes);
      kept = edit.end;
    }
  };
  eachField(bytes, range.start, range.end, shape, (field) => {
    applyAt(field.start);
    const inside: Edit[] = [];
    for (let edit = edits[next]; edit !== undefined && edit.start < field.end; edit = edits[++next]) inside.push(edit);
    if (inside.length === 0 || field.shape?.message === undefined) return;
    const content = splice(bytes, { start: field.valueStart, end: field.end }, field.shape.message, inside);
    parts.push(bytes.subarray(kept, field.start));
    // One by one: a request may have more pieces than a call may have arguments.
    for (const piece of delimited(field.number, content)) parts.push(piece);
    kept = field.end;
  });
  parts.push(bytes.subarray(kept, range.end));
  return parts;
}

/** KeyValue{key=1: nightshift.pii_unredacted, value=2: AnyValue{bool=2: true}} as field `number` of its owner. */
function flagAttribute(number: number): Uint8Array {
  const key = lengthDelimited(1, [Buffer.from(ATTRIBUTE.piiUnredacted)]);
  const value = lengthDelimited(2, [Uint8Array.of(0x10, 1)]);
  return lengthDelimited(number, [key, value]);
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1", start, end);
}

function utf8(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8", start, end);
}
