"""Attention of a packed tree's segments on the CPU, with one segment's ancestors in memory at a time.

Each segment attends over the keys and values of its whole line, which must lie side by side. Autograd would keep that
copy for every segment until its backward pass: with eight members on a prefix of 8,192 tokens, eight prefixes in every
layer. Here both passes put a line together when its turn comes and let it go, and a segment's gradients are added where
its ancestors' lie. Nothing is computed twice: what the kernel's backward pass needs, its log-sum-exp, is kept.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
KERNEL_DTYPES = (torch.float32, torch.float64, torch.bfloat16)

Line = Sequence[slice]
"""Where a segment's ancestors lie in the tree, root first, and last the segment itself."""


def fits(query: Tensor, value: Tensor, dropout: float) -> bool:
    """Whether the kernel takes these, which is the one that `scaled_dot_product_attention` would choose."""
    one_size = query.shape[-1] == value.shape[-1]
    return query.device.type == "cpu" and dropout == 0 and one_size and query.dtype in KERNEL_DTYPES


def segment_attention(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, lines: Sequence[Line]
) -> Tensor:
    """query [1, heads, S, D], key and value [1, key-value heads, S, D] → [1, heads, S, D]; a line for each segment."""
    out = _SegmentAttention.apply(query, key, value, scaling, lines)
    assert isinstance(out, Tensor)
    return out


class _SegmentAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, lines: Sequence[Line]
    ) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        out = torch.empty_like(query)
        log_sums: list[Tensor] = []
        for line in lines:
            own = query[:, :, line[-1]]
            out[:, :, line[-1]], log_sum = _forward(
                *(own, _along(key, line, groups), _along(value, line, groups)),
                *(0.0, len(line) == 1),
                **_rest(own, line, scaling),
            )
            log_sums.append(log_sum)
        ctx.save_for_backward(query, key, value, out, *log_sums)
        ctx.scaling, ctx.lines = scaling, lines
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, Tensor, Tensor, None, None]:
        grad_out = grad_outputs[0]
        query, key, value, out, *log_sums = ctx.saved_tensors
        groups = query.shape[1] // key.shape[1]
        grad_query = torch.empty_like(query)
        grad_key, grad_value = torch.zeros_like(key), torch.zeros_like(value)
        for line, log_sum in zip(ctx.lines, log_sums, strict=True):
            at = line[-1]
            own = query[:, :, at]
            grad_query[:, :, at], along_key, along_value = _backward(
                *(grad_out[:, :, at], own, _along(key, line, groups), _along(value, line, groups)),
                *(out[:, :, at], log_sum, 0.0, len(line) == 1),
                **_rest(own, line, ctx.scaling),
            )
            _add_along(grad_key, along_key, line)
            _add_along(grad_value, along_value, line)
        return grad_query, grad_key, grad_value, None, None


def _along(tensor: Tensor, line: Line, groups: int) -> Tensor:
    """One line's keys or values, each head as often as query heads share it."""
    along = torch.cat([tensor[:, :, at] for at in line], dim=2) if len(line) > 1 else tensor[:, :, line[0]]
    return along.repeat_interleave(groups, dim=1) if groups > 1 else along


def _add_along(total: Tensor, along: Tensor, line: Line) -> None:
    shared = along.unflatten(1, (total.shape[1], -1)).sum(2)
    parts = shared.split([at.stop - at.start for at in line], dim=2)
    for at, part in zip(line, parts, strict=True):
        total[:, :, at] += part


def _rest(own: Tensor, line: Line, scaling: float | None) -> dict[str, Any]:
    """A root is plainly causal; any other segment sees all of its ancestors and itself up to each token."""
    if len(line) == 1:
        return {"scale": scaling}
    size = own.shape[2]
    before = sum(at.stop - at.start for at in line[:-1])
    unseen = torch.ones(size, size, dtype=torch.bool).triu(1)
    mask = torch.zeros(size, before + size, dtype=own.dtype)
    mask[:, before:].masked_fill_(unseen, float("-inf"))
    return {"attn_mask": mask, "scale": scaling}
