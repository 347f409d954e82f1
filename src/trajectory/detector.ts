import { z } from "zod";
import type { DetectorConfig } from "../config-redaction.ts";
import { nightshiftError } from "../errors.ts";
import { createLimiter } from "../limiter.ts";
import { PSEUDONYM, type PiiKind } from "../trace/pseudonym.ts";

/** One piece of personal data in a text; offsets are UTF-16, as JavaScript counts. */
export interface Detection {
  start: number;
  end: number;
  kind: PiiKind;
}

/** Finds personal data that no pattern finds: names, places. */
export interface Detector {
  /**
   * What is to be taken out of `text`, ordered, without overlaps, none of it inside a pseudonym. Rejects when `signal` aborts.
   * @throws NightshiftError `detector_unavailable` when it may answer later, `detector_refused` for what it says of this text
   */
  find(text: string, options?: { signal?: AbortSignal | undefined }): Promise<Detection[]>;
}

/** Presidio's entity types in the words of our pseudonyms. Its many national numbers are all `id`; what it does not have yet is `pii`. */
const KIND: Readonly<Record<string, PiiKind>> = {
  PERSON: "person",
  LOCATION: "location",
  ORGANIZATION: "organization",
  NRP: "group",
  DATE_TIME: "date",
  EMAIL_ADDRESS: "email",
  PHONE_NUMBER: "phone",
  CREDIT_CARD: "card",
  IBAN_CODE: "iban",
  IP_ADDRESS: "ip",
  URL: "url",
  CRYPTO: "crypto",
  MEDICAL_LICENSE: "id",
};
const NATIONAL = /^(?:US|UK|ES|IT|PL|SG|AU|IN|FI|KR|DE|TH|SE|NG|TR|CA|PH)_/;

/** Answers that a proxy or a server under load gives: the same text may pass later. */
const LATER: ReadonlySet<number> = new Set([408, 425, 429, 502, 503, 504]);

const answerSchema = z.array(z.looseObject({ entity_type: z.string(), start: z.int().min(0), end: z.int().min(0), score: z.number() }));
type Found = z.infer<typeof answerSchema>[number];

/** A client of Presidio's analyzer (`POST /analyze`). */
export function createDetector(config: DetectorConfig, { token }: { token: string | undefined }): Detector {
  const url = `${config.url.replace(/\/+$/, "")}/analyze`;
  const limited = createLimiter(config.concurrency);
  const headers = { "content-type": "application/json", ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
  const refused = (problem: string) => nightshiftError("detector_refused", { url: config.url, problem });

  async function ask(text: string, signal: AbortSignal | undefined): Promise<Found[]> {
    const { status, body } = await post(JSON.stringify({ text, ...wishes(config) }), signal);
    if (LATER.has(status)) throw nightshiftError("detector_unavailable", { url: config.url, problem: `HTTP ${status}` });
    if (status !== 200) throw refused(`HTTP ${status}`);
    const answer = answerSchema.safeParse(parse(body));
    if (!answer.success) throw refused("its answer is not an analyzer's");
    return answer.data;
  }

  async function post(body: string, signal: AbortSignal | undefined): Promise<{ status: number; body: string }> {
    const giveUp = AbortSignal.any([AbortSignal.timeout(config.timeoutMs), ...(signal === undefined ? [] : [signal])]);
    try {
      const response = await fetch(url, { method: "POST", headers, body, signal: giveUp, redirect: "error" });
      return { status: response.status, body: await response.text() };
    } catch (cause) {
      if (signal?.aborted === true) throw signal.reason;
      const { name, message, cause: inner } = cause as Error & { cause?: Error & { code?: string } };
      const problem = name === "TimeoutError" ? `no answer in ${config.timeoutMs} ms` : (inner?.code ?? inner?.message ?? message);
      throw nightshiftError("detector_unavailable", { url: config.url, problem }, { cause });
    }
  }

  return {
    async find(text, { signal } = {}) {
      if (text.trim() === "") return [];
      const found = await limited(() => ask(text, signal));
      const wanted = found.filter(({ entity_type, score }) => score >= config.scoreThreshold && isWanted(config, entity_type));
      return apart(text, wanted.map(toUtf16(text)), refused);
    },
  };
}

function wishes({ language, entities, scoreThreshold }: DetectorConfig): object {
  return { language, score_threshold: scoreThreshold, ...(entities.length === 0 ? {} : { entities }) };
}

function isWanted({ entities }: DetectorConfig, type: string): boolean {
  return entities.length === 0 || entities.includes(type);
}

type Scored = Detection & { score: number };

/** Presidio is Python: it counts code points, of which an emoji is one and two of our characters. */
function toUtf16(text: string): (found: Found) => Scored {
  const starts = /[\ud800-\udfff]/.test(text) ? codePointStarts(text) : null;
  const at = (offset: number) => (starts === null ? offset : (starts[offset] ?? Number.POSITIVE_INFINITY));
  return ({ entity_type, start, end, score }) => ({ start: at(start), end: at(end), kind: kindOf(entity_type), score });
}

/** Where each code point begins, and the text's length behind the last. */
function codePointStarts(text: string): number[] {
  const starts: number[] = [];
  let position = 0;
  for (const point of text) {
    starts.push(position);
    position += point.length;
  }
  return [...starts, position];
}

function kindOf(type: string): PiiKind {
  return KIND[type] ?? (NATIONAL.test(type) ? "id" : "pii");
}

/** Of what overlaps the surest, then the longest stands; what is inside a pseudonym has been taken out already. */
function apart(text: string, found: readonly Scored[], refused: (problem: string) => Error): Detection[] {
  if (found.some(({ start, end }) => start >= end || end > text.length)) throw refused("its answer points beyond the text");
  const taken = new Uint8Array(text.length);
  for (const match of text.matchAll(new RegExp(PSEUDONYM.source, "g"))) taken.fill(1, match.index, match.index + match[0].length);
  const detections: Detection[] = [];
  const order = found.toSorted((a, b) => b.score - a.score || b.end - b.start - (a.end - a.start) || a.start - b.start);
  for (const { start, end, kind } of order) {
    if (taken.subarray(start, end).includes(1)) continue;
    taken.fill(1, start, end);
    detections.push({ start, end, kind });
  }
  return detections.toSorted((a, b) => a.start - b.start);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
