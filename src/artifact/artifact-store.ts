/** sha256 of the content, `sha256:` + 64 hex digits. */
export type Digest = `sha256:${string}`;

export type PutResult = { status: "created"; digest: Digest } | { status: "exists"; digest: Digest };

/**
 * Immutable bytes by digest, and named directories that become visible only with their manifest.
 * Names are slash-separated, `[a-z0-9._-]` per segment; nothing outside the store can be named.
 */
export interface ArtifactStore {
  /** Stores bytes under their digest; the same bytes twice are one object. Durable when it resolves. */
  put(bytes: Uint8Array, options?: { signal?: AbortSignal }): Promise<PutResult>;
  /** Bytes of a digest, verified; null when there is none. @throws NightshiftError `artifact_corrupt` when the bytes do not match. */
  get(digest: Digest, options?: { signal?: AbortSignal }): Promise<Uint8Array | null>;
  /** Publishes a directory of files under a name, manifest last, once: a second publish of other content is refused with `artifact_exists`. */
  publish(name: string, files: ReadonlyMap<string, Uint8Array>, options?: { signal?: AbortSignal }): Promise<PutResult>;
  /** A local directory with the verified files of a published name, for processes that read files; null when not published. */
  checkout(name: string, options?: { signal?: AbortSignal }): Promise<{ directory: string; digest: Digest } | null>;
  /** Deletes an object by digest (erasure); deleting what is not there succeeds. */
  delete(digest: Digest, options?: { signal?: AbortSignal }): Promise<void>;
}
