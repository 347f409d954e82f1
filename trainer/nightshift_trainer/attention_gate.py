"""Whether a model's rows may run as a packed tree. Decided by what its configuration says and by a trial.

A recurrent or linear-attention layer carries state from token to token and cannot fork by a mask; a window or a softcap
changes what attention is; and a model that drops the keyword or the positions would compute plausible nonsense.
"""

from typing import Any

import torch
from torch import Tensor

from nightshift_trainer import tree_attention
from nightshift_trainer.forward import token_logprobs
from nightshift_trainer.types import Sequence

TRIAL_ERROR = 0.1
"""Largest error of the packed logprobs in the trial, as a share of what ignoring the tree would do to them."""


def pack_rows(model: Any) -> str | None:
    """Lets `model` run rows as a packed tree; or leaves it as it is and returns the reason why not."""
    reason = unfit(model.config)
    if reason is not None:
        return reason
    before = model.config._attn_implementation
    tree_attention.register()
    try:
        model.set_attn_implementation(tree_attention.NAME)
        reason = _trial(model, before)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = f"its attention does not take a tree ({type(error).__name__}: {error})"
    if reason is not None:
        model.set_attn_implementation(before)
    return reason


def unfit(config: Any) -> str | None:
    """Why a model of this configuration cannot be packed, as far as the configuration says."""
    others = sorted(set(getattr(config, "layer_types", None) or []) - {"full_attention"})
    if others:
        return f"it has layers of type {', '.join(others)}, which cannot be forked by a mask"
    if getattr(config, "num_key_value_heads", None) is None:
        return "its attention is not one of keys and values for each head"
    if getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True):
        return f"its attention has a window of {config.sliding_window} tokens"
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "its attention caps its logits"
    return None


@torch.no_grad()
def _trial(model: Any, plain: str) -> str | None:
    """Compares the packed numbers of a small tree with the plain ones, on the scale of what a wrong mask would do."""
    rows = _trial_rows(model.get_input_embeddings().weight.shape[0])
    training = model.training
    model.eval()
    try:
        packed_T = token_logprobs(model, rows).logp_T
        model.set_attn_implementation(plain)
        plain_T = token_logprobs(model, rows).logp_T
        ignored_T = token_logprobs(model, [_end_to_end(rows)]).logp_T
    finally:
        model.set_attn_implementation(tree_attention.NAME)
        model.train(training)
    error, scale = _distance(packed_T, plain_T), _distance(ignored_T[-len(plain_T) :], plain_T)
    if not error <= TRIAL_ERROR * scale:
        return f"the trial's packed logprobs are off by {error:.3g} where a mask that is ignored gives {scale:.3g}"
    return None


def _trial_rows(vocabulary: int) -> list[Sequence]:
    """Four rows, a tree of depth three."""

    def tokens(begin: int, count: int) -> tuple[int, ...]:
        return tuple((begin + 7 * i) % vocabulary for i in range(count))

    trunk, left, right = tokens(1, 12), tokens(2, 6), tokens(3, 6)
    lines = [trunk + left + tokens(k, 5) for k in (4, 5)] + [trunk + right + tokens(k, 5) for k in (6, 7)]
    return [Sequence(ids, tuple(range(13, len(ids))), (), (1.0,) * (len(ids) - 13)) for ids in lines]


def _end_to_end(rows: list[Sequence]) -> Sequence:
    """All rows as one: each sees those before it, as it would if the tree were ignored."""
    ids = tuple(token for row in rows for token in row.token_ids)
    length = len(rows[0].token_ids)
    positions = tuple(n * length + p for n, row in enumerate(rows) for p in row.positions)
    return Sequence(ids, positions, (), (1.0,) * len(positions))


def _distance(a_T: Tensor, b_T: Tensor) -> float:
    return (a_T - b_T).abs().mean().item()
