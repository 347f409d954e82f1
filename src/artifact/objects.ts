/**
 * Keyed bytes below one prefix of a bucket, as S3 has them. Every call is one request, repeated a few times; safe to call again after any error.
 * All of them throw NightshiftError `artifact_store_unavailable` or `artifact_store_refused` (which pass, so callers wait and come again),
 * `artifact_too_large` (which does not), and reject with the reason of an aborted `signal`.
 */
export interface Objects {
  /** The bytes as the store sent them, whole but unverified; null where there is no such key. `maxBytes` makes more of them `artifact_corrupt`. */
  get(key: string, options?: { signal?: AbortSignal | undefined; maxBytes?: number }): Promise<Uint8Array | null>;
  /** Writes a key that does not exist yet; the store decides between two writers. */
  create(key: string, bytes: Uint8Array, options?: { signal?: AbortSignal | undefined }): Promise<"created" | "exists">;
  /** Writes a key whatever it held before. */
  replace(key: string, bytes: Uint8Array, options?: { signal?: AbortSignal | undefined }): Promise<void>;
  /** Deleting what is not there succeeds. */
  remove(key: string, options?: { signal?: AbortSignal | undefined }): Promise<void>;
  /** All keys that begin with `prefix`, in the order of their bytes. */
  list(prefix: string, options?: { signal?: AbortSignal | undefined }): Promise<string[]>;
}
