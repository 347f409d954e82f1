import { hash } from "node:crypto";

export interface ClusterItem {
  id: string;
  /** First user turn. */
  text: string;
  toolsetHash: string;
}

/** Conversations at least this similar (Jaccard over word triples, digits and ids masked) ask for the same. */
const MIN_SIMILARITY = 0.6;
const BANDS = 16;
const ROWS = 2;
const MAX_WORDS = 400;

/**
 * Same-task clusters: exact by masked first user turn and toolset, then joined by similarity within a toolset. Returns item id → cluster id. The
 * order of the items does not matter.
 */
export function clusterItems(items: readonly ClusterItem[]): ReadonlyMap<string, string> {
  const exact = Map.groupBy(items, (item) => hash("sha256", `${item.toolsetHash}|${maskedText(item.text)}`).slice(0, 32));
  const keys = [...exact.keys()].sort();
  const parents = new Map(keys.map((key) => [key, key]));
  const shingles = new Map(keys.map((key) => [key, shinglesOf(exact.get(key)?.[0]?.text ?? "")]));
  const buckets = new Map<string, string[]>();
  for (const key of keys) {
    const toolset = exact.get(key)?.[0]?.toolsetHash ?? "";
    for (const band of bandsOf(shingles.get(key) ?? new Set())) {
      const bucket = `${toolset}|${band}`;
      const others = buckets.get(bucket) ?? [];
      for (const other of others) joinIfSimilar(parents, shingles, key, other);
      // The first few of a bucket stand for it: a cluster of thousands must not cost their square.
      if (others.length < 8) buckets.set(bucket, [...others, key]);
    }
  }
  return new Map(keys.flatMap((key) => (exact.get(key) ?? []).map((item): [string, string] => [item.id, rootOf(parents, key)])));
}

/** Text with case, numbers and ids taken out: what is left says what is asked for. */
export function maskedText(text: string): string {
  return text
    .normalize("NFC")
    .toLowerCase()
    .replace(/[\p{L}_-]*\d[\p{L}\d_-]*/gu, "#")
    .replace(/[^\p{L}#]+/gu, " ")
    .trim();
}

/** Jaccard similarity of two texts' word triples after masking: 1 for texts that differ only in ids. */
export function similarityOf(one: string, other: string): number {
  return jaccard(shinglesOf(one), shinglesOf(other));
}

function joinIfSimilar(parents: Map<string, string>, shingles: ReadonlyMap<string, ReadonlySet<string>>, one: string, other: string): void {
  const [left, right] = [rootOf(parents, one), rootOf(parents, other)];
  if (left === right || jaccard(shingles.get(one) ?? new Set(), shingles.get(other) ?? new Set()) < MIN_SIMILARITY) return;
  // The smaller id is the root, so that the result does not depend on the order of joins.
  parents.set(left < right ? right : left, left < right ? left : right);
}

function rootOf(parents: ReadonlyMap<string, string>, key: string): string {
  let root = key;
  while (parents.get(root) !== undefined && parents.get(root) !== root) root = parents.get(root) as string;
  return root;
}

/** Padded word triples, so that a short message has some too. */
function shinglesOf(text: string): ReadonlySet<string> {
  const words = ["^", ...maskedText(text).split(" ").slice(0, MAX_WORDS), "$"];
  return new Set(words.slice(0, -2).map((word, index) => `${word} ${words[index + 1]} ${words[index + 2]}`));
}

function jaccard(one: ReadonlySet<string>, other: ReadonlySet<string>): number {
  if (one.size === 0 && other.size === 0) return 1;
  const shared = [...one].filter((shingle) => other.has(shingle)).length;
  return shared / (one.size + other.size - shared);
}

/** MinHash signature in bands: texts of similarity s share a band with probability 1 − (1 − s^2)^16 (s = 0.6: 99.9 %). */
function bandsOf(shingles: ReadonlySet<string>): readonly string[] {
  const minima = Array.from({ length: BANDS * ROWS }, () => 0xffffffff);
  for (const shingle of shingles) {
    const digest = Buffer.from(hash("sha512", shingle), "hex");
    for (const [index, minimum] of minima.entries()) {
      // Two halves of one digest give as many independent hashes as are needed (Kirsch and Mitzenmacher, 2006).
      const value = (digest.readUInt32LE(0) + Math.imul(index + 1, digest.readUInt32LE(4) | 1)) >>> 0;
      if (value < minimum) minima[index] = value;
    }
  }
  return Array.from({ length: BANDS }, (_, band) => `${band}:${minima.slice(band * ROWS, (band + 1) * ROWS).join(",")}`);
}
