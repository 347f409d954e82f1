import type { Call } from "../trace/call.ts";
import type { Draft } from "./assemble.ts";
import type { Examiner } from "./examine.ts";
import { type MediaKeeper, mediaOf } from "./keep-media.ts";
import type { ReadConversation } from "./media-rows.ts";
import type { ReferenceReader } from "./references.ts";

/** What is done with a conversation before it is assembled, each only where it is configured. */
export interface Preparation {
  /** Reads content that lies outside the telemetry. */
  references: ReferenceReader | null;
  /** Takes images and sounds out of the messages. */
  media: MediaKeeper | null;
  /** Looks for personal data in what is left. */
  examiner: Examiner | null;
}

export interface Prepared {
  calls: readonly Call[];
  /** Media that were stored for these calls. */
  digests: ReadonlySet<string>;
}

/** Media first: what is examined are words. In the order of `conversations`. @throws what the store and the detector throw: then nothing of it may be saved */
export async function prepare(
  conversations: readonly (ReadConversation & { calls: readonly Call[] })[],
  { media, examiner }: Preparation,
  signal: AbortSignal | undefined,
): Promise<Prepared[]> {
  const kept: Prepared[] = [];
  for (const { calls, ...conversation } of conversations) {
    signal?.throwIfAborted();
    kept.push(media === null ? { calls, digests: new Set() } : await media.keep(conversation, calls));
  }
  if (examiner === null) return kept;
  const items = conversations.map(({ tenant }, index) => ({ tenant, calls: kept[index]?.calls ?? [] }));
  const examined = await examiner.examine(items, { signal });
  return kept.map(({ digests }, index) => ({ calls: examined[index] ?? [], digests }));
}

/** Writes down which of the stored media each trajectory refers to. */
export function withMedia(drafts: readonly Draft[], digests: ReadonlySet<string>): Draft[] {
  return drafts.map((draft) => {
    const media = mediaOf(draft.trajectory.messages, digests);
    return media.length === 0 ? draft : { ...draft, trajectory: { ...draft.trajectory, media } };
  });
}

/** Whether what a call refers to may still be on its way: an SDK uploads after it has sent the address. */
export function awaitsReference(calls: readonly Call[], { references }: Preparation): boolean {
  return references !== null && calls.some(({ damage }) => damage.includes("dangling_ref"));
}
