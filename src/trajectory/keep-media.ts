import type { Digest } from "../artifact/artifact-store.ts";
import { digestOf } from "../artifact/digest.ts";
import type { Call, InferenceCall } from "../trace/call.ts";
import type { Message } from "../trace/message.ts";
import type { ReadConversation } from "./media-rows.ts";
import { type Media, type MediaReference, replaceMedia } from "../trace/media.ts";

/** Takes images and sounds out of messages and into the artifact store. */
export interface MediaKeeper {
  /**
   * The calls of a conversation with references in place of what lay in their messages, once it is stored durably. Idempotent: the same bytes are one object.
   * @throws NightshiftError of the artifact store: then nothing of it may be saved
   */
  keep(conversation: ReadConversation, calls: readonly Call[]): Promise<Kept>;
}

export interface Kept {
  calls: readonly Call[];
  /** Digests of what was put into the store for these calls. A message of a sender may name others, which are nobody's proof of anything. */
  digests: ReadonlySet<string>;
}

export interface MediaKeeperDeps {
  /** Puts media into the store as this conversation's. Resolves to false where the conversation is no more as it was read. */
  store: (conversation: ReadConversation, media: ReadonlyMap<Digest, Uint8Array>) => Promise<boolean>;
  /** What is larger is left out; its reference then has no `file_id`, and its call is damaged. */
  maxBytes: number;
}

export function createMediaKeeper({ store, maxBytes }: MediaKeeperDeps): MediaKeeper {
  return {
    async keep(conversation, calls) {
      const media = new Map<Digest, Uint8Array>();
      const lighter = calls.map((call) => (call.kind === "inference" ? withoutMedia(call, maxBytes, media) : call));
      // Of a conversation that has changed nothing will be saved.
      const isKept = media.size === 0 || (await store(conversation, media));
      return { calls: lighter, digests: isKept ? new Set(media.keys()) : new Set() };
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

/** Adds what it takes out to `media`. */
function withoutMedia(call: InferenceCall, maxBytes: number, media: Map<Digest, Uint8Array>): InferenceCall {
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
  return isTooLarge ? { ...lighter, damage: [...new Set([...call.damage, "dangling_ref" as const])].sort() } : lighter;
}
