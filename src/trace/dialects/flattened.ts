import { isSafeKey } from "../attributes.ts";
import { plain } from "../json.ts";
import type { Attributes, AttributeValue } from "../span.ts";

/** Distinct indices that one list may have. A span of a hostile sender must not cost more than a long conversation does. */
const MAX_ITEMS = 10_000;
const MAX_DEPTH = 12;

/** A list that a dialect spread over attribute keys, put together again. */
export interface Unflattened {
  /** In index order; gaps are closed, so `llm.input_messages.99999999` costs one entry. */
  items: Record<string, unknown>[];
  /** More indices than the budget: the surplus is missing. */
  overBudget: boolean;
}

/** Rebuilds `prefix.N.path.to.value` attributes into a list of nested objects. Numeric path segments become arrays. */
export function unflatten(attributes: Attributes, prefix: string): Unflattened {
  const root: Node = new Map();
  const start = `${prefix}.`;
  const budget = { left: MAX_ITEMS, over: false };
  for (const [key, value] of Object.entries(attributes)) {
    if (!key.startsWith(start)) continue;
    const path = key.slice(start.length).split(".");
    if (path.length <= MAX_DEPTH && isIndex(path[0] ?? "") && path.every(isSafeKey)) insert(root, path, value, budget);
  }
  const items = root.size === 0 ? [] : (toValue(root) as unknown[]);
  return {
    items: items.filter((item): item is Record<string, unknown> => typeof item === "object" && item !== null),
    overBudget: budget.over,
  };
}

type Node = Map<string, Node | { leaf: AttributeValue }>;

function insert(root: Node, path: readonly string[], value: AttributeValue, budget: { left: number; over: boolean }): void {
  let node = root;
  for (const segment of path.slice(0, -1)) {
    const next = node.get(segment);
    if (next instanceof Map) {
      node = next;
      continue;
    }
    if (isIndex(segment) && budget.left-- <= 0) {
      budget.over = true;
      return;
    }
    const fresh: Node = new Map();
    node.set(segment, fresh);
    node = fresh;
  }
  node.set(path.at(-1) ?? "", { leaf: value });
}

function toValue(node: Node): unknown {
  const entries = [...node].map(([key, child]) => [key, child instanceof Map ? toValue(child) : plain(child.leaf)] as const);
  if (!entries.every(([key]) => isIndex(key))) return Object.fromEntries(entries);
  return entries.sort(([a], [b]) => Number(a) - Number(b)).map(([, value]) => value);
}

function isIndex(segment: string): boolean {
  return /^\d{1,15}$/.test(segment);
}
