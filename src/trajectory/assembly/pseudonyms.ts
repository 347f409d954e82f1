import { PSEUDONYM } from "../../trace/pseudonym.ts";
import { translated } from "../names.ts";

/** A value with a conversation's own numbers, and which pseudonym each of its numbers stands for. */
export interface Renumbered<T> {
  value: T;
  /** `<email_1>` → `<email_k3v7qa2p>`, those that occur in `value`. */
  pseudonyms: Readonly<Record<string, string>>;
}

/**
 * Renumbers a conversation's pseudonyms by first appearance: `<email_k3v7qa2p>` becomes `<email_1>`. The long form is the same wherever the tenant's
 * key was used and so would let a model (or a reader of the training set) link people across conversations.
 * The returned function must see a conversation's texts in a fixed order; it copies what it changes.
 */
export function createRenumbering(): <T>(value: T) => Renumbered<T> {
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
  return <T>(value: T): Renumbered<T> => {
    // Most conversations have none: one look at the text spares the copy.
    if (!PSEUDONYM.test(JSON.stringify(value) ?? "")) return { value, pseudonyms: {} };
    const met = new Map<string, string>();
    const renumbered = translated(value, (text) =>
      text.replace(pattern, (found) => {
        const short = rename(found);
        met.set(short, found);
        return short;
      }),
    );
    return { value: renumbered, pseudonyms: Object.fromEntries(met) };
  };
}
