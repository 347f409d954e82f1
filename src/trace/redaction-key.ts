import { createHmac, randomBytes } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { nightshiftError } from "../errors.ts";

const MIN_BYTES = 32;

/** Reads a tenant's redaction key. @throws NightshiftError `redaction_key_invalid` */
export function readRedactionKey(file: string): Uint8Array {
  let key: Uint8Array;
  try {
    key = readFileSync(file);
  } catch (cause) {
    throw nightshiftError("redaction_key_invalid", { file, problem: "it cannot be read" }, { cause });
  }
  if (key.length < MIN_BYTES)
    throw nightshiftError("redaction_key_invalid", { file, problem: `it has ${key.length} bytes, not ${MIN_BYTES}` });
  return key;
}

/** What a key is called where it must not be shown: processes that share a tenant must have one and the same. */
export function redactionKeyId(key: Uint8Array): string {
  return createHmac("sha256", key).update("nightshift redaction key id").digest("hex").slice(0, 16);
}

/**
 * Reads the key, or makes one (32 random bytes, mode 0600) where there is no file yet. Two processes that start together end up with the same key:
 * the link succeeds for one of them only.
 * @throws NightshiftError `redaction_key_invalid`
 */
export function ensureRedactionKey(file: string): Uint8Array {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const aside = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  writeFileSync(aside, randomBytes(MIN_BYTES), { mode: 0o600, flag: "wx" });
  try {
    linkSync(aside, file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST")
      throw nightshiftError("redaction_key_invalid", { file, problem: "it cannot be made" }, { cause });
  } finally {
    unlinkSync(aside);
  }
  return readRedactionKey(file);
}
