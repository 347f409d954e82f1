import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import type { Digest } from "./artifact-store.ts";

/** `sha256:` + hex of bytes or of a string's UTF-8. */
export function digestOf(content: Uint8Array | string): Digest {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

/** Digest of a file, streamed. Rejects with Node's error when it cannot be read. */
export async function digestOfFile(path: string, options?: { signal?: AbortSignal | undefined }): Promise<Digest> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash, { signal: options?.signal });
  return `sha256:${hash.digest("hex")}`;
}

export function isDigest(text: string): text is Digest {
  return /^sha256:[0-9a-f]{64}$/.test(text);
}
