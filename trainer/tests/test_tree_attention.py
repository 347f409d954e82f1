"""The three ways to attend give the same numbers, and only along ancestors."""

import pytest
import torch
from torch import Tensor

from nightshift_trainer import tree_attention as module
from nightshift_trainer.packing import Tree, build_tree
from nightshift_trainer.tree_attention import TreeLayout, tree_attention

HEADS, KEY_VALUE_HEADS, WIDTH = 4, 2, 16
ROWS = [(1, 2, 3, 4, 5, 6, 7), (1, 2, 3, 4, 8), (1, 2, 3, 9, 9, 9), (1, 2), (5, 5, 5)]


class Attention(torch.nn.Module):
    num_key_value_groups = HEADS // KEY_VALUE_HEADS
    is_causal = True


def inputs(tree: Tree) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    query = torch.randn(1, HEADS, tree.tokens, WIDTH)
    key, value = torch.randn(2, 1, KEY_VALUE_HEADS, tree.tokens, WIDTH)
    return query, key, value


@pytest.mark.parametrize("path", ["segments", "dense", "flex"])
@pytest.mark.parametrize("scaling", [None, 0.5])
def test_each_token_attends_to_its_own_row_only(path: str, scaling: float | None) -> None:
    tree = build_tree(ROWS)
    query, key, value = inputs(tree)
    layout = TreeLayout(tree, torch.device("cpu"), path)
    with torch.no_grad():
        packed, _ = tree_attention(Attention(), query, key, value, None, scaling=scaling, tree=layout)
        assert packed.shape == (1, tree.tokens, HEADS, WIDTH)
        for i in range(len(ROWS)):
            at = tree.layout_of(i)
            own = (query[:, :, at], key[:, :, at], value[:, :, at])
            alone, _ = tree_attention(Attention(), *own, None, scaling=scaling)
            assert torch.allclose(packed[:, at], alone, atol=1e-5)


@pytest.mark.parametrize("kernel", ["the CPU's own", "whatever torch chooses"])
def test_segments_give_the_gradients_of_a_dense_mask(monkeypatch: pytest.MonkeyPatch, kernel: str) -> None:
    if kernel != "the CPU's own":
        monkeypatch.setattr(module, "fits", lambda *_: False)
    tree = build_tree(ROWS)
    gradients = []
    for path in ("segments", "dense"):
        query, key, value = (x.requires_grad_() for x in inputs(tree))
        layout = TreeLayout(tree, torch.device("cpu"), path)
        out, _ = tree_attention(Attention(), query, key, value, None, tree=layout)
        (out * torch.linspace(-1, 1, WIDTH)).sum().backward()
        gradients.append([query.grad, key.grad, value.grad])
    for a, b in zip(*gradients, strict=True):
        assert a is not None
        assert b is not None
        assert torch.allclose(a, b, atol=1e-5)


def test_short_trees_are_dense_and_long_ones_go_by_segments() -> None:
    short, long = build_tree([(1,) * 512]), build_tree([(1,) * 513])
    assert TreeLayout(short, torch.device("cpu")).path == "dense"
    assert TreeLayout(long, torch.device("cpu")).path == "segments"
