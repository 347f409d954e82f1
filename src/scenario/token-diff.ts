/** A word of a sentence. */
export interface Token {
  text: string;
  /** It begins a sentence. */
  isFirst: boolean;
}

/** One place where a text differs from another. */
export interface Hunk {
  /** The place, as a range of the first text's sentences. */
  at: string;
  /** What the second text has there, after a mark: never empty. */
  text: string;
  /** What is in one of them only, run by run of words; null where it is too much to compare. */
  changes: readonly (readonly Token[])[] | null;
}

/** Longest middle, in sentences or words, that is compared by its square. */
const MAX_COMPARED = 300;

/** Where `other` differs from `one`, sentence by sentence and in those word by word; none where they are equal, null where too much differs to say. */
export function diffOf(one: readonly string[], other: readonly string[]): readonly Hunk[] | null {
  const ranges = changedRanges(one, other);
  return (
    ranges?.map(({ from, to, otherFrom, otherTo }) => {
      const [left, right] = [one.slice(from, to).flatMap(tokensOf), other.slice(otherFrom, otherTo).flatMap(tokensOf)];
      const words = changedRanges(
        left.map(({ text }) => text),
        right.map(({ text }) => text),
      );
      const changes = words?.flatMap((range) => [left.slice(range.from, range.to), right.slice(range.otherFrom, range.otherTo)]) ?? null;
      return { at: `${from}-${to}`, text: `+${other.slice(otherFrom, otherTo).join("\n")}`, changes };
    }) ?? null
  );
}

function tokensOf(sentence: string): readonly Token[] {
  const words = sentence.match(/[\p{L}\p{M}\p{N}_@-]+|[^\s]/gu) ?? [];
  const first = words.findIndex((word) => /\p{L}/u.test(word));
  return words.map((text, index) => ({ text, isFirst: index === first }));
}

interface Range {
  from: number;
  to: number;
  otherFrom: number;
  otherTo: number;
}

/** Ranges outside a longest common subsequence, after what both begin and end with is set aside. */
function changedRanges(one: readonly string[], other: readonly string[]): readonly Range[] | null {
  let start = 0;
  while (start < one.length && start < other.length && one[start] === other[start]) start += 1;
  let end = 0;
  while (end < one.length - start && end < other.length - start && one[one.length - 1 - end] === other[other.length - 1 - end]) end += 1;
  const [left, right] = [one.slice(start, one.length - end), other.slice(start, other.length - end)];
  if (left.length === 0 && right.length === 0) return [];
  if (left.length > MAX_COMPARED || right.length > MAX_COMPARED) return null;
  return rangesBetween(left, right).map(({ from, to, otherFrom, otherTo }) => ({
    ...{ from: from + start, to: to + start },
    ...{ otherFrom: otherFrom + start, otherTo: otherTo + start },
  }));
}

function rangesBetween(left: readonly string[], right: readonly string[]): readonly Range[] {
  const common = commonLengths(left, right);
  const at = (row: number, column: number): number => common[row]?.[column] ?? 0;
  const ranges: Range[] = [];
  let open: Range | null = null;
  let [row, column] = [0, 0];
  while (row < left.length || column < right.length) {
    if (row < left.length && column < right.length && left[row] === right[column]) {
      if (open !== null) ranges.push(open);
      open = null;
      [row, column] = [row + 1, column + 1];
      continue;
    }
    open ??= { from: row, to: row, otherFrom: column, otherTo: column };
    if (column === right.length || (row < left.length && at(row + 1, column) >= at(row, column + 1))) row += 1;
    else column += 1;
    open.to = row;
    open.otherTo = column;
  }
  if (open !== null) ranges.push(open);
  return ranges;
}

/** Length of the longest common subsequence of what follows each pair of places. */
function commonLengths(left: readonly string[], right: readonly string[]): readonly Uint16Array[] {
  const rows = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1));
  for (let row = left.length - 1; row >= 0; row -= 1) {
    for (let column = right.length - 1; column >= 0; column -= 1) {
      const isEqual = left[row] === right[column];
      const value = isEqual ? (rows[row + 1]?.[column + 1] ?? 0) + 1 : Math.max(rows[row + 1]?.[column] ?? 0, rows[row]?.[column + 1] ?? 0);
      (rows[row] as Uint16Array)[column] = value;
    }
  }
  return rows;
}
