import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { decodeLogs, decodeSpans } from "../../../src/trace/decode.ts";
import { RECORDINGS as RECORDED } from "../../fixtures/otlp/recordings.ts";
import { fixtureFile } from "../../fixtures/otlp/rewrite.ts";
import { QUESTION, SYSTEM } from "../../fixtures/otlp/sdk/scenario.ts";

export interface RecordedRequest {
  signal: "traces" | "logs";
  body: Uint8Array<ArrayBuffer>;
}

/** What must not be stored, by the kind of its pseudonym. Made up; the token has the form of a real one only. */
export const SENSITIVE = {
  email: "b.stone@example.com",
  card: "4111111111111111",
  secret: `ghp_${createHash("sha256").update("nobody's token").digest("hex").slice(0, 36)}`,
  ip: "10.20.30.4",
  phone: "+491512345",
} as const;

/** Texts of the scenario and what stands in their place: of the same length, so that no length around them changes. */
const PLANTED: readonly [text: string, sensitive: string][] = [
  [QUESTION, `I am ${SENSITIVE.email}, card ${SENSITIVE.card}`],
  [SYSTEM, `Use ${SENSITIVE.secret}.`],
  // Both are in the last answer, the first one also in tools' answers: JSON inside JSON.
  ["2026-11-03", SENSITIVE.ip],
  ["2026-12-03", SENSITIVE.phone],
];

/** The recording of a real SDK, traces and logs, with personal data and a secret in messages, tool results and answers. */
export function recordingOf(sdk: string): RecordedRequest[] {
  const requests = (["traces", "logs"] as const).map((signal) => recorded(fixtureFile(sdk, `${signal}.bin`), signal));
  return requests.filter(({ body }) => body.length > 0);
}

/** All recorded SDKs. */
export const RECORDED_SDKS: readonly string[] = Object.keys(RECORDED);
export const RECORDINGS: readonly RecordedRequest[] = RECORDED_SDKS.flatMap(recordingOf);

/** How many spans and log events the requests hold. */
export function countsOf(requests: readonly RecordedRequest[]): { spans: number; logs: number } {
  const bodies = (wanted: RecordedRequest["signal"]) => requests.filter(({ signal }) => signal === wanted).map(({ body }) => body);
  return { spans: bodies("traces").flatMap(decodeSpans).length, logs: bodies("logs").flatMap(decodeLogs).length };
}

function recorded(file: URL, signal: RecordedRequest["signal"]): RecordedRequest {
  let text = readFileSync(file, "latin1");
  for (const [from, to] of PLANTED) text = text.replaceAll(from, to.padEnd(from.length, "."));
  return { signal, body: new Uint8Array(Buffer.from(text, "latin1")) };
}
