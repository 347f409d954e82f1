import type { ArtifactStore } from "../artifact/artifact-store.ts";
import { digestOf } from "../artifact/digest.ts";
import type { Call, InferenceCall } from "../trace/call.ts";
import type { Message } from "../trace/message.ts";
import { type Media, type MediaReference, replaceMedia } from "../trace/media.ts";

/** Takes images and sounds out of messages and into the artifact store. */
export interface MediaKeeper {
  /**
   * The same calls with references in place of what lay in their messages, once it is stored durably. Idempotent: the same bytes are one object.
   * @throws NightshiftError of the artifact store: then nothing of it may be saved
   */
  keep(calls: readonly Call[], options?: { signal?: AbortSignal | undefined }): Promise<Kept>;
}

export interface Kept {
  calls: Call[];
  /** Digests of what was put into the store for these calls. A message of a sender may name others, which are nobody's proof of anything. */
  digests: ReadonlySet<string>;
}

/** @param maxBytes what is larger is left out; its reference then has no `file_id`, and its call is damaged */
export function createMediaKeeper({ artifacts, maxBytes }: { artifacts: Pick<ArtifactStore, "put">; maxBytes: number }): MediaKeeper {
  return {
    async keep(calls, { signal } = {}) {
      const digests = new Set<string>();
      const kept: Call[] = [];
      for (const call of calls) {
        if (call.kind !== "inference") {
          kept.push(call);
          continue;
        }
        const { call: lighter, media } = withoutMedia(call, maxBytes);
        for (const [digest, bytes] of media) {
          if (digests.has(digest)) continue;
          await artifacts.put(bytes, signal === undefined ? {} : { signal });
          digests.add(digest);
        }
        kept.push(lighter);
      }
      return { calls: kept, digests };
    },
  };
}

/** What a trajectory's messages refer to of what was stored for it, in order of appearance. */
export function mediaOf(messages: readonly Message[], digests: ReadonlySet<string>): string[] {
  if (digests.size === 0) return [];
  const found = new Set<string>();
  const look = (part: unknown): void => {
    const { file_id: id, response } = part as { file_id?: unknown; response?: unknown };
    if (typeof id === "string" && digests.has(id)) found.add(id);
    if (Array.isArray(response)) for (const item of response) if (item !== null && typeof item === "object") look(item);
  };
  for (const message of messages) message.parts.forEach(look);
  return [...found];
}

function withoutMedia(call: InferenceCall, maxBytes: number): { call: InferenceCall; media: Map<string, Uint8Array> } {
  const media = new Map<string, Uint8Array>();
  let isTooLarge = false;
  const refer = ({ modality, mimeType, bytes }: Media): MediaReference => {
    const reference: MediaReference = { type: "file", modality, mime_type: mimeType, size: bytes.length };
    if (bytes.length > maxBytes) {
      isTooLarge = true;
      return reference;
    }
    const digest = digestOf(bytes);
    media.set(digest, bytes);
    return { ...reference, file_id: digest };
  };
  const lighten = (messages: readonly Message[]) => messages.map((message) => replaceMedia(message, refer));
  const lighter = { ...call, input: lighten(call.input), output: lighten(call.output) };
  return { call: isTooLarge ? { ...lighter, damage: [...new Set([...call.damage, "dangling_ref" as const])].sort() } : lighter, media };
}
