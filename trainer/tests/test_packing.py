"""The tree and the bins, by hand and against what they must mean."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from nightshift_trainer.packing import build_tree, common_prefix, pack

ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=7)


def test_a_tree_by_hand() -> None:
    #  1 2 ─┬─ 3 4 ─┬─ 5
    #       │       └─ 6 7
    #       └─ 8            and a row that ends where others go on: 1 2 3 4
    rows = [(1, 2, 3, 4, 6, 7), (1, 2, 8), (1, 2, 3, 4, 5), (1, 2, 3, 4), (1, 2, 8)]
    tree = build_tree(rows)
    found = [(s.parent, s.position, s.offset, s.token_ids) for s in tree.segments]
    assert found == [
        (None, 0, 0, (1, 2)),
        (0, 2, 2, (3, 4)),
        (1, 4, 4, (5,)),
        (1, 4, 5, (6, 7)),
        (0, 2, 7, (8,)),
    ]
    assert tree.tokens == 8
    assert tree.paths == ((0, 1, 3), (0, 4), (0, 1, 2), (0, 1), (0, 4))
    assert tree.layout_of(0) == [0, 1, 2, 3, 5, 6]
    assert tree.ancestors(3) == [0, 1]
    assert tree.ends() == [8, 7, 5, 7, 8]


@given(ROWS)
def test_every_row_is_found_in_the_layout_and_every_prefix_is_there_once(rows: list[tuple[int, ...]]) -> None:
    tree = build_tree(rows)
    laid = [token for segment in tree.segments for token in segment.token_ids]
    for i, row in enumerate(rows):
        assert tuple(laid[at] for at in tree.layout_of(i)) == row
    assert tree.tokens == len(laid) == len({row[: n + 1] for row in rows for n in range(len(row))})


@given(ROWS)
def test_a_query_sees_its_own_rows_past_and_nothing_else(rows: list[tuple[int, ...]]) -> None:
    tree = build_tree(rows)
    ends = [end for s, end in zip(tree.segments, tree.ends(), strict=True) for _ in range(len(s.token_ids))]
    past: dict[int, set[int]] = {}
    for i in range(len(rows)):
        layout = tree.layout_of(i)
        for n, at in enumerate(layout):
            past[at] = set(layout[: n + 1])
    for query in range(tree.tokens):
        assert {key for key in range(tree.tokens) if key <= query < ends[key]} == past[query]


def test_bins_by_hand() -> None:
    rows = [(1, 1, 1, 1, 2), (3, 3, 3), (1, 1, 1, 1, 4), (1, 1, 1, 1, 5), (3, 3, 6)]
    # Trunk 1 1 1 1 with three leaves is 7 tokens, 3 3 with two is 4.
    assert pack(rows, 11) == [[0, 1, 2, 3, 4]]
    assert pack(rows, 7) == [[0, 2, 3], [1, 4]]
    # Six tokens hold two leaves of the trunk: it is there twice.
    assert [len(b) for b in pack(rows, 6)] == [1, 2, 2]
    assert pack(rows, 1) == [[0], [2], [3], [1], [4]]


@given(ROWS, st.integers(1, 20))
def test_bins_hold_every_row_within_the_budget_at_the_least_tokens(
    rows: list[tuple[int, ...]], budget: int
) -> None:
    bins = pack(rows, budget)
    assert sorted(i for part in bins for i in part) == list(range(len(rows)))
    sizes = [build_tree([rows[i] for i in part]).tokens for part in bins]
    for part, size in zip(bins, sizes, strict=True):
        assert len(part) == 1 or size <= budget
    assert sum(sizes) == _least(sorted(rows), budget)


def _least(rows: list[tuple[int, ...]], budget: int) -> int:
    """By trying every way to cut the sorted rows."""
    best = sum(map(len, rows))
    for cuts in product([False, True], repeat=len(rows) - 1):
        parts = [[rows[0]]]
        for row, cut in zip(rows[1:], cuts, strict=True):
            if cut:
                parts.append([row])
            else:
                parts[-1].append(row)
        sizes = [build_tree(part).tokens for part in parts]
        if all(len(part) == 1 or size <= budget for part, size in zip(parts, sizes, strict=True)):
            best = min(best, sum(sizes))
    return best


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_common_prefix(a: list[int], b: list[int]) -> None:
    expected = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    for known in range(expected + 1):
        assert common_prefix(tuple(a), tuple(b), known) == expected
