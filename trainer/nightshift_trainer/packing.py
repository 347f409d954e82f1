"""Prefix-tree packing: the rows of a group as one tree of token segments, every shared token once. No torch here.

Members of a group begin alike (system prompt, tools, turns until they part) and part at any depth. The tree's segments
are laid end to end, depth first; a token attends to its ancestors only (`tree_attention.py`), so its numbers are those
of its own row. Packing only says where in the layout a row's tokens lie: what a loss does with them knows no tree.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens that the same rows share: from where an ancestor's rows part to where these part, or one ends."""

    parent: int | None
    """Index of the segment that comes before it in its rows; None at a root."""
    position: int
    """Position of its first token in its rows."""
    offset: int
    """Index of its first token in the layout."""
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """`segments` depth first: whatever descends from a segment follows it directly. `tokens` is the layout's length."""

    segments: tuple[Segment, ...]
    paths: tuple[tuple[int, ...], ...]
    """For each row, in the order given: its segments from the root."""
    tokens: int

    def ancestors(self, segment: int) -> list[int]:
        """Root first, without `segment` itself."""
        found: list[int] = []
        parent = self.segments[segment].parent
        while parent is not None:
            found.append(parent)
            parent = self.segments[parent].parent
        return found[::-1]

    def ends(self) -> list[int]:
        """For each segment the layout index behind its last descendant: query q sees key k iff k ≤ q < end of k's."""
        ends = [segment.offset + len(segment.token_ids) for segment in self.segments]
        for index in reversed(range(len(ends))):
            parent = self.segments[index].parent
            if parent is not None:
                ends[parent] = max(ends[parent], ends[index])
        return ends

    def layout_of(self, row: int) -> list[int]:
        """Layout index of each of the row's tokens, in the row's order."""
        parts = [self.segments[index] for index in self.paths[row]]
        return [i for part in parts for i in range(part.offset, part.offset + len(part.token_ids))]


def build_tree(rows: Seq[tuple[int, ...]]) -> Tree:
    """The token trie of `rows` (none of them empty), runs of one child drawn together. Equal rows share a path."""
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    segments: list[Segment] = []
    paths: list[tuple[int, ...]] = [()] * len(rows)
    tokens = 0
    # Slices of `order` whose rows agree up to `begin`, below segment `parent`; the stack keeps depth first.
    pending: list[tuple[list[int], int, tuple[int, ...]]] = [
        (part, 0, ()) for part in reversed(_parted(rows, order, 0))
    ]
    while pending:
        members, begin, above = pending.pop()
        end = common_prefix(rows[members[0]], rows[members[-1]], begin)
        path = (*above, len(segments))
        segments.append(Segment(above[-1] if above else None, begin, tokens, rows[members[0]][begin:end]))
        tokens += end - begin
        for i in members:
            paths[i] = path
        longer = [i for i in members if len(rows[i]) > end]
        pending.extend((part, end, path) for part in reversed(_parted(rows, longer, end)))
    return Tree(tuple(segments), tuple(paths), tokens)


def pack(rows: Seq[tuple[int, ...]], budget_tokens: int) -> list[list[int]]:
    """Indices of `rows` in bins whose trees have at most `budget_tokens` tokens (a longer row is alone).

    A row joins the bin where it costs only what its neighbours lack. Neighbours in dictionary order share most, so the
    bins are runs of that order; of all ways to cut it, the one with the fewest tokens in all, then the fewest bins.
    """
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    lengths = [len(rows[i]) for i in order]
    shared = [0] + [common_prefix(rows[a], rows[b], 0) for a, b in pairwise(order)]
    best: list[tuple[int, int, int]] = [
        (0, 0, 0)
    ]  # (tokens, bins, begin of the last bin) of the first n rows
    for end in range(1, len(order) + 1):
        tokens = lengths[end - 1]
        choices = [(best[end - 1][0] + tokens, best[end - 1][1] + 1, end - 1)]
        for begin in range(end - 2, -1, -1):
            tokens += lengths[begin] - shared[begin + 1]
            if tokens > budget_tokens:
                break
            choices.append((best[begin][0] + tokens, best[begin][1] + 1, begin))
        best.append(min(choices))
    bins: list[list[int]] = []
    end = len(order)
    while end > 0:
        begin = best[end][2]
        bins.append(sorted(order[begin:end]))
        end = begin
    return bins[::-1]


def common_prefix(a: tuple[int, ...], b: tuple[int, ...], known: int) -> int:
    """Length of the longest common prefix; the first `known` tokens are known to agree. Bisection over slices, because
    comparing slices costs a fiftieth of comparing tokens one by one."""
    low, high = known, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _parted(rows: Seq[tuple[int, ...]], order: list[int], at: int) -> list[list[int]]:
    """`order` cut wherever the token at `at` changes."""
    parts: list[list[int]] = []
    for i in order:
        if parts and rows[parts[-1][0]][at] == rows[i][at]:
            parts[-1].append(i)
        else:
            parts.append([i])
    return parts
