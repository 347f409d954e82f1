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
  for (const [index, branch] of mains.entries()) {
    if (branch.calls[0]?.insideTool) continue;
    const carried = new Set(branch.opening.filter(isWritten).map((item) => item.key));
    const parent =
      mains.slice(0, index).findLast((earlier) => earlier.items.some((item) => isWritten(item) && carried.has(item.key))) ?? null;
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
