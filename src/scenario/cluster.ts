import { hash } from "node:crypto";

export interface ClusterItem {
  id: string;
  /** First user turn. */
  text: string;
  toolsetHash: string;
}

/** Conversations at least this similar (Jaccard over word triples, digits and ids masked) ask for the same. */
export const MIN_SIMILARITY = 0.6;
const BANDS = 16;
const ROWS = 2;
const MAX_WORDS = 400;
const MAX_CHARACTERS = 8_000;

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
    const compared = new Set<string>();
    for (const band of bandsOf(shingles.get(key) ?? new Set())) {
      const bucket = `${toolset}|${band}`;
      const others = buckets.get(bucket) ?? [];
      for (const other of others) if (!compared.has(other)) joinIfSimilar(parents, shingles, key, other);
      for (const other of others) compared.add(other);
      // The first few of a bucket stand for it: a cluster of thousands must not cost their square.
      if (others.length < 8) buckets.set(bucket, [...others, key]);
    }
  }
  return new Map(keys.flatMap((key) => (exact.get(key) ?? []).map((item): [string, string] => [item.id, rootOf(parents, key)])));
}

/** Text with case, numbers and ids taken out: what is left says what is asked for. Of a long text its first 8,000 characters. Linear. */
export function maskedText(text: string): string {
  return (
    text
      .slice(0, MAX_CHARACTERS)
      .normalize("NFC")
      .toLowerCase()
      // One pass over whole runs: a pattern that looks for the digit in a run would start again at each of its letters.
      .replace(/[\p{L}\d_-]+/gu, (run) => (/\d/.test(run) ? "#" : run))
      // Scripts without spaces: a sign is a word, or a sentence would be one.
      .replace(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/gu, " $& ")
      .replace(/[^\p{L}#]+/gu, " ")
      .trim()
  );
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
  const [small, large] = one.size <= other.size ? [one, other] : [other, one];
  let shared = 0;
  for (const shingle of small) if (large.has(shingle)) shared += 1;
  return shared / (one.size + other.size - shared);
}

/** MinHash signature in bands: texts of similarity s share a band with probability 1 − (1 − s^2)^16 (s = 0.6: 99.9 %). */
function bandsOf(shingles: ReadonlySet<string>): readonly string[] {
  const minima = new Uint32Array(BANDS * ROWS).fill(0xffffffff);
  for (const shingle of shingles) {
    const [one, other] = [mixedHash(shingle, 0x811c9dc5), mixedHash(shingle, 0x9747b28c) | 1];
    for (let index = 0; index < minima.length; index += 1) {
      // Two hashes give as many independent ones as are needed (Kirsch and Mitzenmacher, 2006).
      const value = (one + Math.imul(index + 1, other)) >>> 0;
      if (value < (minima[index] as number)) minima[index] = value;
    }
  }
  return Array.from({ length: BANDS }, (_, band) => `${band}:${minima.slice(band * ROWS, (band + 1) * ROWS).join(",")}`);
}

/** FNV-1a with MurmurHash3's finish. Nothing secret hangs on it: who forges collisions fills buckets, which are bounded, and joins nothing. */
function mixedHash(text: string, seed: number): number {
  let value = seed;
  for (let index = 0; index < text.length; index += 1) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
