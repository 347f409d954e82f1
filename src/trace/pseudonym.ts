import { createHmac } from "node:crypto";

/** What a redaction was; it stays readable in the pseudonym. The edge finds the first six, a detector (`redaction.detector`) the others too. */
const KINDS = [
  "email",
  "phone",
  "card",
  "iban",
  "ip",
  "secret",
  "person",
  "location",
  "organization",
  "group",
  "date",
  "url",
  "crypto",
  "id",
  "pii",
] as const;
export type PiiKind = (typeof KINDS)[number];

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const LENGTH = 8;

/** Matches every pseudonym. */
export const PSEUDONYM = new RegExp(`<(?:${KINDS.join("|")})_[a-z2-7]{8}>`);

/** Matches what a conversation's own numbering makes of pseudonyms: `<email_1>`. */
export const PSEUDONYM_NUMBER = new RegExp(`<(?:${KINDS.join("|")})_[1-9]\\d{0,6}>`);

/**
 * The consistent stand-in for one value: the same tenant key and value give the same pseudonym on every replica, so that copies between a tool's
 * arguments and its answer stay coherent. 40 bits of HMAC-SHA256(key, kind ‖ 0 ‖ value): without the key nobody can test a guess.
 * @param value in its normalised spelling (a phone number without separators, a lower-case address)
 */
export function pseudonym(kind: PiiKind, value: string, key: Uint8Array): string {
  const digest = createHmac("sha256", key).update(kind).update("\0").update(value).digest();
  let bits = digest.readUIntBE(0, 5);
  let name = "";
  for (let index = 0; index < LENGTH; index++) {
    name = (ALPHABET[bits % 32] ?? "") + name;
    bits = Math.floor(bits / 32);
  }
  return `<${kind}_${name}>`;
}
