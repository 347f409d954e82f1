import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomUUID } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nightshiftError } from "../errors.ts";

export interface SigningKey {
  privateKey: KeyObject;
  publicKey: KeyObject;
}

/**
 * The key that signs adapters: `adapter-signing.pem` in `dir` (mode 0600), made on first use, with the public half beside it for adapter agents.
 * @throws NightshiftError `signing_key_invalid` when the file holds no ed25519 key
 */
export function loadSigningKey(dir: string): SigningKey {
  const file = join(dir, KEY_FILE);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  makeOnce(file, newKey, 0o600);
  const key = readSigningKey(file);
  makeOnce(join(dir, publicName(KEY_FILE)), () => publicPem(key), 0o644);
  return key;
}

/** A private key that somebody else made; nothing is written. @throws NightshiftError `signing_key_invalid` */
export function readSigningKey(file: string): SigningKey {
  return pairOf(parse(file, "signing_key_invalid", createPrivateKey));
}

/**
 * Makes a new pair: the private half (mode 0600) in `file`, the public one beside it as `….pub.pem`. Neither may be there already.
 * @throws NightshiftError `usage_invalid`
 */
export function writeSigningKey(file: string): { publicFile: string; id: string } {
  const publicFile = publicName(file);
  const pem = newKey();
  const key = pairOf(createPrivateKey(pem));
  try {
    writeFileSync(file, pem, { flag: "wx", mode: 0o600 });
    writeFileSync(publicFile, publicPem(key), { flag: "wx", mode: 0o644 });
  } catch (cause) {
    const { code, path = file } = cause as NodeJS.ErrnoException;
    throw nightshiftError("usage_invalid", { problem: `${path} ${code === "EEXIST" ? "exists already" : "cannot be written"}` }, { cause });
  }
  return { publicFile, id: keyId(key.publicKey) };
}

/** Public keys of a file: one or several PEM blocks (two while a key is rotated). @throws NightshiftError `public_key_invalid` */
export function loadPublicKeys(file: string): KeyObject[] {
  return parse(file, "public_key_invalid", (pem) => {
    const blocks = pem.match(/-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g);
    if (blocks === null) throw new Error("no public key in PEM form");
    return blocks.map((block) => createPublicKey(block));
  });
}

/** First 16 hex digits of the public key's sha256. */
export function keyId(publicKey: KeyObject): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex")
    .slice(0, 16);
}

const KEY_FILE = "adapter-signing.pem";

function newKey(): string {
  return generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

function pairOf(privateKey: KeyObject): SigningKey {
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

function publicPem({ publicKey }: SigningKey): string {
  return publicKey.export({ type: "spki", format: "pem" }).toString();
}

function publicName(file: string): string {
  return `${file.replace(/\.pem$/, "")}.pub.pem`;
}

/** Links a complete file into place, so that two processes that start together end with one key. */
function makeOnce(file: string, content: () => string, mode: number): void {
  if (exists(file)) return;
  const aside = `${file}.${randomUUID()}`;
  writeFileSync(aside, content(), { mode, flag: "wx" });
  try {
    linkSync(aside, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(aside);
  }
}

function exists(file: string): boolean {
  try {
    readFileSync(file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw nightshiftError("signing_key_invalid", { file, problem: "it cannot be read" }, { cause: error });
  }
}

function parse<T extends KeyObject | KeyObject[]>(
  file: string,
  code: "signing_key_invalid" | "public_key_invalid",
  read: (pem: string) => T,
): T {
  try {
    const keys = read(readFileSync(file, "utf8"));
    for (const key of [keys].flat())
      if (key.asymmetricKeyType !== "ed25519") throw new Error(`it is ${key.asymmetricKeyType}, not ed25519`);
    return keys;
  } catch (cause) {
    // OpenSSL's own message can quote key material; only what we said ourselves goes into the error.
    const problem = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "there is no such file" : "not an ed25519 key in PEM form";
    throw nightshiftError(code, { file, problem }, { cause });
  }
}
