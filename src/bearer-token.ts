import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** A token that is known by its hash alone, and what it stands for. */
export interface KnownToken<T> {
  /** SHA-256 of the token, in hex. */
  hash: string;
  value: T;
}

/**
 * Answers what the bearer token of an `authorization` header stands for; null without one, or for one that is not known. Tokens are random and long, so a plain
 * hash keeps them secret; every hash is compared in constant time, whichever matches: the time taken tells nothing about which there are.
 */
export function createTokenMatcher<T>(known: readonly KnownToken<T>[]): (authorization: string | undefined) => T | null {
  const hashes = known.map(({ hash, value }) => ({ hash: Buffer.from(hash, "hex"), value }));
  return (authorization) => {
    const token = /^bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
    if (token === undefined) return null;
    const presented = createHash("sha256").update(token).digest();
    let found: T | null = null;
    for (const { hash, value } of hashes) if (timingSafeEqual(hash, presented)) found = value;
    return found;
  };
}

/** A new token with 256 random bits. `label` makes a leaked one recognisable. */
export function makeToken(label: string): { token: string; hash: string } {
  const token = `nightshift_${label}_${randomBytes(32).toString("base64url")}`;
  return { token, hash: createHash("sha256").update(token).digest("hex") };
}
