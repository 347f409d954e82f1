import { type Item, type ItemReader, prefixHashes } from "./items.ts";
import type { MergedCall } from "./merge.ts";
import { byStart } from "./spans.ts";

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
  const recorded = calls.map((call): Recorded => {
    const input = read(call.input);
    const items = [...input, ...read(call.output)];
    return { call, items, prefixes: prefixHashes(items), inputLength: input.length };
  });
  return [...Map.groupBy(recorded, openingOf)].flatMap(([opening, tree]) => branchesOfTree(opening, tree));
}

/** Everything up to the first user message. */
function openingOf({ items, inputLength, prefixes }: Recorded): string {
  const firstUser = items.findIndex((item, position) => item.by === "user" && position < inputLength);
  return prefixes[firstUser === -1 ? inputLength : firstUser + 1] ?? "";
}

function branchesOfTree(opening: string, tree: readonly Recorded[]): Branch[] {
  const index = indexTree(tree);
  const continued = new Set(tree.filter((recorded) => isContinued(recorded, index)));
  const continuedByQuestion = Map.groupBy(continued, asked);
  const leaves = [
    ...new Map(
      tree
        .filter((recorded) => !continued.has(recorded))
        .toSorted(byLength)
        .toReversed()
        .map((leaf) => [whole(leaf), leaf]),
    ).values(),
  ].toReversed();
  const first = tree.toSorted((a, b) => byStart(a.call, b.call))[0];
  const firstRequest = first?.items.slice(0, first.inputLength) ?? [];
  const placed = new Set<string>();
  const branches: Branch[] = [];
  for (const leaf of leaves) {
    const parting = leaf.prefixes.findIndex((prefix) => !placed.has(prefix));
    const isRetry = branches.length > 0 && parting > leaf.inputLength && (index.byQuestion.get(asked(leaf))?.length ?? 0) > 1;
    const branch: Branch = {
      leaf: leaf.call,
      calls: callsOn(leaf, index, continuedByQuestion).map(({ call }) => call),
      items: leaf.items,
      rootKey: branches.length === 0 ? opening : (leaf.prefixes[parting] ?? whole(leaf)),
      kind: branches.length === 0 ? "main" : isRetry ? "retry" : "fork",
      main: branches[0] ?? null,
      opening: firstRequest,
    };
    branches.push(branch);
    for (const prefix of leaf.prefixes) placed.add(prefix);
  }
  return branches;
}

/** What a tree is asked for again and again, by the hashes of beginnings: walking the tree for every call would take time by the square. */
interface TreeIndex {
  byQuestion: ReadonlyMap<string, readonly Recorded[]>;
  byTranscript: ReadonlyMap<string, readonly Recorded[]>;
  /** For every beginning of every request: how long the longest transcript is that it begins. */
  longest: ReadonlyMap<string, number>;
  /** Questions to which some answer is carried word for word. */
  carried: ReadonlySet<string>;
  /** With what requests go on after the other questions, where it is from an assistant or a tool. */
  followedBy: ReadonlyMap<string, FollowedBy>;
}

interface FollowedBy {
  assistant: boolean;
  /** Ids of the calls whose results follow; null stands for a result without one. */
  results: Set<string | null>;
}

function indexTree(tree: readonly Recorded[]): TreeIndex {
  const longest = new Map<string, number>();
  for (const { prefixes, inputLength, items } of tree) {
    for (const prefix of prefixes.slice(0, inputLength + 1)) longest.set(prefix, Math.max(longest.get(prefix) ?? 0, items.length));
  }
  const carried = new Set(tree.filter((recorded) => isCarried(recorded, longest)).map(asked));
  const followedBy = followersOf(tree, new Set(tree.map(asked).filter((question) => !carried.has(question))));
  return { byQuestion: Map.groupBy(tree, asked), byTranscript: Map.groupBy(tree, whole), longest, followedBy, carried };
}

function followersOf(tree: readonly Recorded[], questions: ReadonlySet<string>): Map<string, FollowedBy> {
  const followedBy = new Map<string, FollowedBy>();
  for (const { prefixes, inputLength, items } of tree) {
    for (const [length, item] of items.slice(0, inputLength).entries()) {
      const question = prefixes[length] ?? "";
      if ((item.by !== "assistant" && item.by !== "tool") || !questions.has(question)) continue;
      const known = followedBy.get(question) ?? { assistant: false, results: new Set() };
      followedBy.set(question, known);
      if (item.by === "assistant") known.assistant = true;
      else known.results.add(item.callId ?? null);
    }
  }
  return followedBy;
}

/** Which calls a leaf's transcript came about by: those whose own transcript it begins with, and those whose answer it holds in another wording. */
function callsOn(leaf: Recorded, { byTranscript }: TreeIndex, continued: ReadonlyMap<string, readonly Recorded[]>): Recorded[] {
  const exact = leaf.prefixes.flatMap((prefix) => byTranscript.get(prefix) ?? []);
  const answered = new Set(exact.filter((recorded) => recorded.items.length > recorded.inputLength).map(asked));
  const reworded = leaf.prefixes
    .slice(0, -1)
    .filter((prefix) => !answered.has(prefix))
    .flatMap((prefix) => continued.get(prefix) ?? []);
  return [...new Set([...exact, ...reworded])].toSorted((a, b) => byStart(a.call, b.call));
}

/**
 * A later request carries this call's answer. Where no call's answer to the same question is carried word for word, one in other words counts too: four SDKs
 * garble streamed parallel calls on the answering span, and the next request's history is right. Old OpenLLMetry leaves tool calls out of the history: then a
 * tool's answer is what follows the question, which is no answer to a call that asked for no tool, or for another.
 */
function isContinued(recorded: Recorded, { longest, carried, followedBy }: TreeIndex): boolean {
  if (isCarried(recorded, longest)) return true;
  const question = asked(recorded);
  if (carried.has(question)) return false;
  const next = followedBy.get(question);
  return next !== undefined && (next.assistant || askedForOneOf(next.results, recorded));
}

/** Where either side lacks the id, any result may be the call's. */
function askedForOneOf(results: ReadonlySet<string | null>, { items, inputLength }: Recorded): boolean {
  const calls = items.slice(inputLength).filter(({ callId }) => callId !== undefined);
  return results.size > 0 && calls.some(({ callId }) => callId === null || results.has(null) || results.has(callId ?? null));
}

function isCarried(recorded: Recorded, longest: ReadonlyMap<string, number>): boolean {
  return (longest.get(whole(recorded)) ?? 0) > recorded.items.length;
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
