import { lintSource } from "@secretlint/core";
import { creator as recommended } from "@secretlint/secretlint-rule-preset-recommend";

/** One secret in a text. */
export interface SecretHit {
  start: number;
  end: number;
}

/**
 * What each rule of secretlint's recommended preset needs to see at all: a text without any of these has no secret for it. A run of the rules costs a
 * quarter of a millisecond, this a microsecond per kilobyte; a test holds every rule's example against it. It looks at JSON as it is written, too: what an escape ends in is no part of the word
 * behind it.
 */
export const SECRET_HINT =
  /ecret_?[Aa]ccess|SECRET_?(?:ACCESS|[Aa]ccess)|PRIVATE KEY|x-oauth-basic|npm_|xox[bparo]-|xapp-|hooks\.slack\.com|:\/\/[^\s/@]{1,513}@|(?:\b|\\[bfnrt]|\\u[0-9a-fA-F]{4})sk-|gsk_|hf_|lin_api_|ntn_|SG\.|shp(?:pa|ca|at|ss)_|gh[pousr]_|github_pat_|glpat-|glc_|glsa_|ops_ey|hv[sbr]\.|vc[piark]_|dapi|dckr_pat_|figd_/;

/** Shorter values in a rule's message are names and types, not secrets. */
const MIN_SECRET_LENGTH = 8;

const OPTIONS = { config: { rules: [{ id: "@secretlint/secretlint-rule-preset-recommend", rule: recommended, rules: [] }] } };

/** Finds secrets with secretlint's recommended rules: API keys, tokens, private keys, credentials in connection strings. Ordered, without overlaps. */
export async function findSecrets(text: string): Promise<SecretHit[]> {
  if (!SECRET_HINT.test(text)) return [];
  // The text is untrusted: "secretlint-disable" in it would switch the rules off. Same length, so ranges stay right.
  const content = text.replaceAll("secretlint-", "secretlint_");
  const result = await lintSource({
    source: { filePath: "value.txt", content, ext: ".txt", contentType: "text" },
    options: { ...OPTIONS, noPhysicFilePath: true },
  });
  const hits: SecretHit[] = [];
  const found = result.messages.map((message) => wholeSecret(content, message));
  for (const hit of found.sort((a, b) => a.start - b.start)) {
    if (hit.end > hit.start && hit.start >= (hits.at(-1)?.end ?? 0)) hits.push(hit);
  }
  return hits;
}

/** Some rules (the AWS secret key's) report where the whole match starts but only the secret's length: the value itself says where it ends. */
function wholeSecret(content: string, message: { range: readonly [number, number]; data?: object }): SecretHit {
  const [start, end] = message.range;
  const ends = Object.values(message.data ?? {}).flatMap((value: unknown) => {
    const at = typeof value === "string" && value.length >= MIN_SECRET_LENGTH ? content.indexOf(value, start) : -1;
    return at === -1 || at > end ? [] : [at + String(value).length];
  });
  return { start, end: Math.max(end, ...ends) };
}
