"""Attention over slots: how the unmodified model reads and writes the server's own KV cache.

transformers passes extra keyword arguments of `forward` down to the registered attention function, so the
model's code is untouched. A forward pass sees a batch of rows that share one *prefix* (the system prompt
and the tools) and each own a *suffix* in a slot. The shared prefix is read once for the whole batch (one
matrix product instead of one per row), which is most of the speed of this server.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import AttentionInterface, PreTrainedModel

NAME = "nightshift_slots"


@dataclass(frozen=True, eq=False)
class SlotPass:
    """What one forward pass needs beside token ids. B rows, T new tokens each, S suffix places, P prefix
    tokens."""

    keys: Tensor
    """[L, B, K, S, D], written in place."""
    values: Tensor
    prefix_keys: Tensor | None
    """[L, K, P, D], shared by all rows; None when there is no prefix."""
    prefix_values: Tensor | None
    rows: Tensor
    """[B, 1]: 0, 1, 2, …"""
    places: Tensor
    """[B, T]: where in its suffix each new token goes; it sees the places up to its own."""
    mask: Tensor
    """[B, T, S]: 0 where a place may be seen, -inf where not."""


def causal_mask(places_BT: Tensor, suffix_places: int) -> Tensor:
    """Additive mask [B, T, S]: a token at place p sees places 0..p."""
    hidden = torch.arange(suffix_places) > places_BT.unsqueeze(-1)
    return torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))


def attend(
    module: torch.nn.Module,
    query_BHTD: Tensor,
    key_BKTD: Tensor,
    value_BKTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    slots: SlotPass,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The function registered with transformers. Writes the new keys and values, then attends to prefix
    and suffix."""
    if softcap is not None or s_aux is not None:
        raise NotImplementedError(
            "attention with soft capping or sinks is not supported by the embedded server"
        )
    layer: int = module.layer_idx  # type: ignore[assignment]
    keys, values = slots.keys[layer], slots.values[layer]
    keys[slots.rows, :, slots.places] = key_BKTD.transpose(1, 2)
    values[slots.rows, :, slots.places] = value_BKTD.transpose(1, 2)

    B, H, T, D = query_BHTD.shape
    K = keys.shape[1]
    G = H // K  # query heads that share one key head
    query = query_BHTD.reshape(B, K, G * T, D) * scaling
    scores = torch.matmul(query, keys.transpose(-1, -2)).view(B, K, G, T, -1)
    scores = (scores + slots.mask[:, None, None]).view(B, K, G * T, -1)
    if slots.prefix_keys is None or slots.prefix_values is None:
        out = torch.matmul(scores.softmax(-1), values)
    else:
        shared = query.transpose(0, 1).reshape(K, B * G * T, D)
        prefix_scores = torch.matmul(shared, slots.prefix_keys[layer].transpose(-1, -2))
        P = prefix_scores.shape[-1]
        prefix_scores = prefix_scores.view(K, B, G * T, P).transpose(0, 1)
        weights = torch.cat([prefix_scores, scores], -1).softmax(-1)
        out = torch.matmul(weights[..., P:], values)
        over_prefix = weights[..., :P].transpose(0, 1).reshape(K, B * G * T, P)
        prefix_out = torch.matmul(over_prefix, slots.prefix_values[layer])
        out = out + prefix_out.view(K, B, G * T, D).transpose(0, 1)
    return out.view(B, H, T, D).transpose(1, 2), None


def use_slots(model: PreTrainedModel) -> None:
    """Switches the model to slot attention. Raises ValueError for an architecture whose layers it cannot
    serve."""
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise ValueError(
            f"the embedded server serves full-attention models only, this one has {sorted(kinds)}"
        )
    AttentionInterface.register(NAME, attend)
    model.set_attn_implementation(NAME)
    _fuse_norms(model)


def _fuse_norms(model: PreTrainedModel) -> None:
    """transformers spells RMSNorm out in six tensor operations; at this size each costs as much as a
    product."""
    for name, norm in list(model.named_modules()):
        weight, eps = getattr(norm, "weight", None), getattr(norm, "variance_epsilon", None)
        if (
            type(norm).__name__.endswith("RMSNorm")
            and isinstance(weight, Parameter)
            and isinstance(eps, float)
        ):
            fused = torch.nn.RMSNorm(list(weight.shape), eps=eps)
            fused.weight = weight
            model.set_submodule(name, fused)
