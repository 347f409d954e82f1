import { nightshiftError, NightshiftError } from "../errors.ts";
import type { Digest } from "./artifact-store.ts";
import { digestOf } from "./digest.ts";
import type { Objects } from "./objects.ts";

/**
 * Writes bytes under a key that is theirs alone. What is there already is read and compared: bytes that rotted, or that another program wrote, are written again.
 * "exists" when the right ones were there.
 */
export async function storeVerified(
  objects: Objects,
  at: { key: string; digest: Digest },
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<"created" | "exists"> {
  if ((await objects.create(at.key, bytes, { signal })) === "created") return "created";
  const present = await objects.get(at.key, { signal, maxBytes: bytes.byteLength }).catch(ignoreCorrupt);
  if (present !== null && digestOf(present) === at.digest) return "exists";
  await objects.replace(at.key, bytes, { signal });
  return "created";
}

/** The bytes of a key if they have this digest; null where there is no such key. @throws NightshiftError `artifact_corrupt` where they have not */
export async function readVerified(
  objects: Objects,
  at: { key: string; digest: Digest; maxBytes?: number },
  signal: AbortSignal | undefined,
): Promise<Uint8Array | null> {
  const bytes = await objects.get(at.key, { signal, ...(at.maxBytes === undefined ? {} : { maxBytes: at.maxBytes }) });
  if (bytes === null || digestOf(bytes) === at.digest) return bytes;
  throw nightshiftError("artifact_corrupt", { what: at.key, problem: `its bytes hash to ${digestOf(bytes)}, not ${at.digest}` });
}

function ignoreCorrupt(error: unknown): null {
  if (error instanceof NightshiftError && error.code === "artifact_corrupt") return null;
  throw error;
}
