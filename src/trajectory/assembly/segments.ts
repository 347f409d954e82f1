import type { Branch } from "./branches.ts";
import type { Item } from "./items.ts";
import { byStart } from "./spans.ts";

export interface SegmentLink {
  /** The branch that this one went on from after its history was cut or summed up. */
  parent: Branch | null;
  /** Its history was cut, and what came before is not in this conversation. */
  unlinked: boolean;
}

/**
 * Finds the trees that start in the middle: an agent that compacts or truncates its history starts a new tree, whose first request repeats answers of an earlier
 * one or carries a compaction part. They are linked, never glued: the model did not see the two halves as one text.
 */
export function linkSegments(branches: readonly Branch[]): ReadonlyMap<Branch, SegmentLink> {
  const links = new Map<Branch, SegmentLink>();
  const mains = branches.filter((branch) => branch.kind === "main").toSorted((a, b) => byStart(a.calls[0], b.calls[0]));
  // The last branch so far that holds what was written: where it lies among `mains`.
  const writtenIn = new Map<string, number>();
  for (const [index, branch] of mains.entries()) {
    const carried = branch.opening.filter(isWritten).map((item) => writtenIn.get(item.key) ?? -1);
    for (const item of branch.items) if (isWritten(item)) writtenIn.set(item.key, index);
    if (branch.calls[0]?.insideTool) continue;
    const parent = mains[carried.reduce((latest, at) => Math.max(latest, at), -1)] ?? null;
    const compacted = branch.opening.some((item) => item.key.includes('"type":"compaction"'));
    const spoken = branch.opening.find((item) => item.by !== "system");
    const startsInTheMiddle = spoken !== undefined && spoken.by !== "user";
    const previous = compacted && parent === null ? (mains[index - 1] ?? null) : parent;
    if (previous !== null || compacted || startsInTheMiddle) links.set(branch, { parent: previous, unlinked: previous === null });
  }
  return links;
}

/** What the agent itself wrote or got; two conversations of one user may well begin alike. */
function isWritten(item: Item): boolean {
  return item.by === "assistant" || item.by === "tool";
}
