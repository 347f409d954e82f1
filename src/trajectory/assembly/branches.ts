import type { MergedCall } from "./merge.ts";
import { byStart } from "./spans.ts";
import { type Item, type ItemReader, prefixHashes } from "./items.ts";

/** One way through a conversation: the transcript of `leaf` and the calls that wrote it. */
export interface Branch {
  leaf: MergedCall;
  /** In the order of their starts, `leaf` among them. */
  calls: readonly MergedCall[];
  items: readonly Item[];
  /** Identifies the branch by where it parts from the ones before it: stable while it grows. */
  rootKey: string;
  /** The longest branch of its tree is `main`; a `retry` is another answer to a request that the main one answered; a `fork` went on from other input. */
  kind: "main" | "retry" | "fork";
  /** The main branch of the same tree; null for a main one. */
  main: Branch | null;
  /** Items of the first request of the tree: a segment after compaction repeats parts of an earlier tree there. */
  opening: readonly Item[];
}

interface Recorded {
  call: MergedCall;
  items: readonly Item[];
  prefixes: readonly string[];
  inputLength: number;
}

/**
 * Lays the transcripts of all calls into prefix trees (one per opening: everything up to the first user message) and returns a branch per leaf, the main one of
 * each tree first.
 */
export function branchesOf(calls: readonly MergedCall[], read: ItemReader): Branch[] {
  const trees = new Map<string, Recorded[]>();
  for (const call of calls) {
    const input = read(call.input);
    const items = [...input, ...read(call.output)];
    const recorded = { call, items, prefixes: prefixHashes(items), inputLength: input.length };
    const firstUser = input.findIndex((item) => item.by === "user");
    const opening = recorded.prefixes[firstUser === -1 ? input.length : firstUser + 1] ?? "";
    trees.set(opening, [...(trees.get(opening) ?? []), recorded]);
  }
  return [...trees].flatMap(([opening, tree]) => branchesOfTree(opening, tree));
}

function branchesOfTree(opening: string, tree: readonly Recorded[]): Branch[] {
  const historyOf = inputPrefixes(tree);
  const open = tree.filter((recorded) => !isContinued(recorded, tree, historyOf));
  const leaves = [
    ...new Map(
      open
        .toSorted(byLength)
        .toReversed()
        .map((leaf) => [whole(leaf), leaf]),
    ).values(),
  ].toReversed();
  const first = tree.toSorted((a, b) => byStart(a.call, b.call))[0];
  const placed = new Set<string>();
  const branches: Branch[] = [];
  for (const leaf of leaves) {
    const parting = leaf.prefixes.findIndex((prefix) => !placed.has(prefix));
    const isRetry =
      branches.length > 0 && parting > leaf.inputLength && tree.some((other) => other !== leaf && asked(other) === asked(leaf));
    const branch: Branch = {
      leaf: leaf.call,
      calls: callsOn(leaf, tree, open).map(({ call }) => call),
      items: leaf.items,
      rootKey: branches.length === 0 ? opening : (leaf.prefixes[parting] ?? whole(leaf)),
      kind: branches.length === 0 ? "main" : isRetry ? "retry" : "fork",
      main: branches[0] ?? null,
      opening: first?.items.slice(0, first.inputLength) ?? [],
    };
    branches.push(branch);
    for (const prefix of leaf.prefixes) placed.add(prefix);
  }
  return branches;
}

/** Which calls a leaf's transcript came about by: those whose own transcript it begins with, and those whose answer it holds in another wording. */
function callsOn(leaf: Recorded, tree: readonly Recorded[], open: readonly Recorded[]): Recorded[] {
  const isExact = (recorded: Recorded) => leaf.prefixes[recorded.items.length] === whole(recorded);
  const answered = new Set(tree.filter((recorded) => isExact(recorded) && recorded.items.length > recorded.inputLength).map(asked));
  const isReworded = (recorded: Recorded) =>
    !open.includes(recorded) &&
    !answered.has(asked(recorded)) &&
    recorded.inputLength < leaf.items.length &&
    leaf.prefixes[recorded.inputLength] === asked(recorded);
  return tree.filter((recorded) => isExact(recorded) || isReworded(recorded)).toSorted((a, b) => byStart(a.call, b.call));
}

/**
 * A later request carries this call's answer. Where no call's answer to the same question is carried word for word, one in other words counts too: four SDKs
 * garble streamed parallel calls on the answering span, and the next request's history is right. Old OpenLLMetry leaves tool calls out of the history: then a
 * tool's answer is what follows the question.
 */
function isContinued(recorded: Recorded, tree: readonly Recorded[], historyOf: ReadonlyMap<string, number>): boolean {
  if ((historyOf.get(whole(recorded)) ?? 0) > recorded.items.length) return true;
  const sameQuestion = tree.filter((other) => asked(other) === asked(recorded));
  if (sameQuestion.some((other) => (historyOf.get(whole(other)) ?? 0) > other.items.length)) return false;
  return tree.some(
    (later) =>
      later.inputLength > recorded.inputLength &&
      later.prefixes[recorded.inputLength] === asked(recorded) &&
      ANSWERING.has(later.items[recorded.inputLength]?.by),
  );
}

const ANSWERING: ReadonlySet<string | undefined> = new Set(["assistant", "tool"]);

/** For every beginning of every request: how long the longest transcript is that it begins. */
function inputPrefixes(tree: readonly Recorded[]): ReadonlyMap<string, number> {
  const longest = new Map<string, number>();
  for (const { prefixes, inputLength, items } of tree) {
    for (const prefix of prefixes.slice(0, inputLength + 1)) longest.set(prefix, Math.max(longest.get(prefix) ?? 0, items.length));
  }
  return longest;
}

function whole(recorded: Recorded): string {
  return recorded.prefixes.at(-1) ?? "";
}

function asked(recorded: Recorded): string {
  return recorded.prefixes[recorded.inputLength] ?? "";
}

/** Longest transcript first; among equals the one that ended last. */
function byLength(a: Recorded, b: Recorded): number {
  if (a.items.length !== b.items.length) return b.items.length - a.items.length;
  if (a.call.endNs !== b.call.endNs) return a.call.endNs > b.call.endNs ? -1 : 1;
  return -byStart(a.call, b.call);
}
