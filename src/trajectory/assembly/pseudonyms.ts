import { PSEUDONYM } from "../../trace/pseudonym.ts";

/**
 * Renumbers a conversation's pseudonyms by first appearance: `<email_k3v7qa2p>` becomes `<email_1>`. The long form is the same wherever the tenant's
 * key was used and so would let a model (or a reader of the training set) link people across conversations.
 * The returned function must see a conversation's texts in a fixed order; it copies what it changes.
 */
export function createRenumbering(): <T>(value: T) => T {
  const names = new Map<string, string>();
  const counts = new Map<string, number>();
  const pattern = new RegExp(PSEUDONYM.source, "g");
  const rename = (found: string): string => {
    const known = names.get(found);
    if (known !== undefined) return known;
    const kind = found.slice(1, found.lastIndexOf("_"));
    const count = (counts.get(kind) ?? 0) + 1;
    counts.set(kind, count);
    names.set(found, `<${kind}_${count}>`);
    return `<${kind}_${count}>`;
  };
  const walk = (value: unknown): unknown => {
    if (typeof value === "string") return value.replace(pattern, rename);
    if (Array.isArray(value)) return value.map(walk);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key.replace(pattern, rename), walk(item)]));
  };
  // Most conversations have none: one look at the text spares the copy.
  return <T>(value: T): T => (PSEUDONYM.test(JSON.stringify(value) ?? "") ? (walk(value) as T) : value);
}
