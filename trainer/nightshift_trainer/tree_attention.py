"""Attention along a packed tree, through transformers' attention interface: the models stay as they are.

Each token attends to its segment's ancestors and, causally, to its own segment. Three ways to the same numbers:
`segments` runs one call for each segment over its ancestors' keys and values and does no arithmetic in vain; `dense`
runs one call under a mask, faster where everything is short; `flex` is FlexAttention with a block mask, for the GPU
(it has no backward pass on the CPU).
"""

from functools import cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from nightshift_trainer.packing import Tree
from nightshift_trainer.segment_attention import fits, segment_attention

NAME = "nightshift_tree"
FLEX_BLOCK = 128
DENSE_TOKENS = 512
"""Up to this many tokens a whole mask costs less than a call for each segment."""


class TreeLayout:
    """One tree on one device: what the layers of one forward pass share."""

    def __init__(self, tree: Tree, device: torch.device, path: str | None = None) -> None:
        """`path` is one of `segments`, `dense`, `flex`; by default whichever is fastest there."""
        self.path = path or _fastest(tree, device)
        self.sizes = [len(segment.token_ids) for segment in tree.segments]
        self.ancestors = [tree.ancestors(i) for i in range(len(tree.segments))]
        slices = [
            slice(end - size, end) for end, size in zip(accumulate(self.sizes), self.sizes, strict=True)
        ]
        self.lines = [[slices[i] for i in [*line, own]] for own, line in enumerate(self.ancestors)]
        """Where each segment's line lies in S, root first."""
        self.ids_1S = torch.tensor([[t for s in tree.segments for t in s.token_ids]], device=device)
        self.positions_1S = torch.tensor(
            [[s.position + i for s in tree.segments for i in range(len(s.token_ids))]], device=device
        )
        ends = [e for end, size in zip(tree.ends(), self.sizes, strict=True) for e in [end] * size]
        self._ends_S = torch.tensor(ends, device=device)
        self._masks: dict[int, Tensor] = {}
        self._dense: Tensor | None = None
        self._block: BlockMask | None = None

    def segment_mask(self, index: int, device: torch.device) -> Tensor | None:
        """[own, ancestors + own], or None for a root, which is plainly causal."""
        if not self.ancestors[index]:
            return None
        if index not in self._masks:
            own = self.sizes[index]
            before = sum(self.sizes[a] for a in self.ancestors[index])
            self._masks[index] = torch.ones(own, before + own, dtype=torch.bool, device=device).tril(before)
        return self._masks[index]

    def dense_mask(self) -> Tensor:
        """[S, S]."""
        if self._dense is None:
            index_S = torch.arange(len(self._ends_S), device=self._ends_S.device)
            self._dense = (index_S[None, :] <= index_S[:, None]) & (index_S[:, None] < self._ends_S[None, :])
        return self._dense

    def block_mask(self) -> BlockMask:
        """Over S padded to whole blocks; padding attends to itself only."""
        if self._block is None:
            ends_S = self._ends_S
            padded = -(-len(ends_S) // FLEX_BLOCK) * FLEX_BLOCK
            alone = torch.arange(len(ends_S) + 1, padded + 1, device=ends_S.device)
            all_ends_S = torch.cat([ends_S, alone])

            def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                return (key <= query) & (query < all_ends_S[key])

            self._block = create_block_mask(
                sees, None, None, padded, padded, device=str(ends_S.device), BLOCK_SIZE=FLEX_BLOCK
            )
        return self._block


def register() -> None:
    """Makes NAME known to transformers; may be called again."""
    AttentionInterface.register(NAME, tree_attention)


def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: TreeLayout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query [1, heads, S, D], key and value [1, key-value heads, S, D] → [1, S, heads, D].

    Without `tree` (a keyword that the model passes down) it is transformers' own causal attention.
    """
    if tree is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    groups: int = getattr(module, "num_key_value_groups", 1)
    if tree.path == "flex":
        return _flex(query, key, value, scaling, tree).transpose(1, 2), None
    if tree.path == "segments" and fits(query, value, dropout):
        return segment_attention(query, key, value, scaling, tree.lines).transpose(1, 2), None
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if tree.path == "dense":
        out = scaled_dot_product_attention(
            query, key, value, attn_mask=tree.dense_mask(), dropout_p=dropout, scale=scaling
        )
    else:
        out = _segments(query, key, value, scaling, dropout, tree)
    return out.transpose(1, 2), None


def _segments(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, dropout: float, tree: TreeLayout
) -> Tensor:
    queries, keys, values = (x.split(tree.sizes, dim=2) for x in (query, key, value))
    outs: list[Tensor] = []
    for index, own in enumerate(queries):
        line = [*tree.ancestors[index], index]
        mask = tree.segment_mask(index, query.device)
        outs.append(
            scaled_dot_product_attention(
                own,
                torch.cat([keys[i] for i in line], dim=2) if mask is not None else keys[index],
                torch.cat([values[i] for i in line], dim=2) if mask is not None else values[index],
                attn_mask=mask,
                is_causal=mask is None,
                dropout_p=dropout,
                scale=scaling,
            )
        )
    return torch.cat(outs, dim=2)


def _flex(query: Tensor, key: Tensor, value: Tensor, scaling: float | None, tree: TreeLayout) -> Tensor:
    length = query.shape[2]
    block_mask = tree.block_mask()
    missing = block_mask.shape[-1] - length
    padded_query, padded_key, padded_value = (pad(x, (0, 0, 0, missing)) for x in (query, key, value))
    run = _compiled_flex() if query.is_cuda else flex_attention
    grouped = query.shape[1] != key.shape[1]
    out = run(
        padded_query, padded_key, padded_value, block_mask=block_mask, scale=scaling, enable_gqa=grouped
    )
    assert isinstance(out, Tensor)
    return out[:, :, :length]


@cache
def _compiled_flex() -> Any:
    return torch.compile(flex_attention, dynamic=True)


def _fastest(tree: Tree, device: torch.device) -> str:
    if tree.tokens <= DENSE_TOKENS:
        return "dense"
    return "flex" if device.type == "cuda" else "segments"
