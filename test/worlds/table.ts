/**
 * Rows by key, cheap to copy: a copy shares its rows until one side writes. The oracle keeps many worlds at once that differ by a write or two.
 * Rows are never changed in place; `set` replaces them.
 */
export interface Table<T extends object> {
  get(key: string): T | undefined;
  /** All rows in the order of their keys, so that answers depend on content alone. */
  all(): readonly T[];
  set(key: string, row: T): void;
  delete(key: string): void;
  copy(): Table<T>;
  /** Equal for equal content, whatever order it was written in. */
  fingerprint(): string;
}

interface Shared<T> {
  rows: ReadonlyMap<string, T>;
  high: number;
  low: number;
  sorted: readonly T[] | null;
}

export function createTable<T extends object>(from: Shared<T> = { rows: new Map(), high: 0, low: 0, sorted: null }): Table<T> {
  let { rows, high, low, sorted } = from;
  let own: Map<string, T> | null = null;
  const writable = (): Map<string, T> => {
    own ??= new Map(rows);
    rows = own;
    sorted = null;
    return own;
  };
  const toggle = (key: string, row: T | undefined): void => {
    if (row === undefined) return;
    const text = `${key}\n${JSON.stringify(row)}`;
    high ^= fnv1a(text, 0x811c9dc5);
    low ^= fnv1a(text, 0x01234567);
  };
  return {
    get: (key) => rows.get(key),
    all: () => (sorted ??= [...rows].sort(([one], [other]) => byNumber(one, other)).map(([, row]) => row)),
    set(key, row) {
      toggle(key, rows.get(key));
      toggle(key, row);
      writable().set(key, row);
    },
    delete(key) {
      toggle(key, rows.get(key));
      writable().delete(key);
    },
    copy() {
      own = null;
      return createTable({ rows, high, low, sorted });
    },
    fingerprint: () => `${high >>> 0}.${low >>> 0}`,
  };
}

/** `B2` before `B10`. */
function byNumber(one: string, other: string): number {
  return one.length - other.length || (one < other ? -1 : 1);
}

function fnv1a(text: string, start: number): number {
  let hash = start;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash ^ (hash >>> 15);
}
