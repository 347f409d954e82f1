"""Logprobs of chosen tokens, with as little arithmetic as plain transformers allows.

Rows of a micro-batch that begin alike (members of a group: system prompt, tools, the user's words) run their common
prefix once, as a key-value cache that every row attends to and through which the gradient flows: the same numbers as
row by row (to rounding), for fewer tokens. The vocabulary is only touched at the chosen positions, in chunks.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from nightshift_trainer.types import Sequence

LEAST_SHARED_TOKENS = 16
"""A shorter common prefix costs more calls than it saves tokens."""
HEAD_CHUNK_ELEMENTS = 2**26
"""Logits that exist at once: positions times vocabulary (256 MiB in fp32)."""


@dataclass(frozen=True, slots=True)
class Forward:
    """`logp_T` and `entropy_T` (no gradient) run over the rows' positions, row by row."""

    logp_T: Tensor
    entropy_T: Tensor
    physical_tokens: int
    """Tokens that went through the model, padding included."""


def micro_batches(sequences: Seq[Sequence], budget_tokens: int) -> list[list[int]]:
    """Indices of `sequences` in batches of rows × longest row ≤ budget (a longer row is alone), by length.

    Pass one group's sequences, so that rows of a batch share a prefix and padding stays small.
    """
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(sequences)), key=lambda i: (-len(sequences[i].token_ids), i)):
        longest = max(longest, len(sequences[index].token_ids))
        if not batches or (len(batches[-1]) + 1) * longest > budget_tokens:
            batches.append([])
            longest = len(sequences[index].token_ids)
        batches[-1].append(index)
    return batches


def token_logprobs(model: Any, rows: Seq[Sequence]) -> Forward:
    """log π(token | its prefix) of every chosen position of every row, in fp32, at the row's temperatures.

    `model` is a transformers causal language model, bare or with LoRA layers; the caller chooses grad and adapter.
    """
    device = model.device
    prefix = shared_prefix(rows) if shares_prefixes(model.config) else 0
    hidden_TD, physical = _hidden_before(model.get_decoder(), rows, prefix, device)
    targets_T = _flat([[row.token_ids[p] for p in row.positions] for row in rows], device, torch.long)
    temperature_T = _flat([row.temperatures for row in rows], device, torch.float32)
    head = model.get_output_embeddings()
    chunk = max(1, HEAD_CHUNK_ELEMENTS // head.weight.shape[0])
    parts: list[tuple[Tensor, Tensor]] = []
    for begin in range(0, len(targets_T), chunk):
        part = slice(begin, begin + chunk)
        arguments = (head, hidden_TD[part], targets_T[part], temperature_T[part])
        whole = len(targets_T) <= chunk or not torch.is_grad_enabled()
        parts.append(_head(*arguments) if whole else _recomputed_head(*arguments))
    logp, entropy = zip(*parts, strict=True)
    return Forward(torch.cat(logp), torch.cat(entropy), physical)


def shares_prefixes(config: Any) -> bool:
    """Whether a prefix can be forked as a key-value cache: full attention in every layer, no recurrence, no window."""
    layer_types = getattr(config, "layer_types", None) or []
    has_window = getattr(config, "sliding_window", None) is not None
    return (
        hasattr(config, "num_key_value_heads") and not has_window and set(layer_types) <= {"full_attention"}
    )


def shared_prefix(rows: Seq[Sequence]) -> int:
    """Length of the common prefix that may run once: it ends before what predicts any row's first chosen token."""
    if len(rows) < 2:
        return 0
    common = common_prefix([row.token_ids for row in rows])
    length = min(common, *(row.positions[0] - 1 for row in rows))
    return length if length >= LEAST_SHARED_TOKENS else 0


def common_prefix(sequences: Seq[tuple[int, ...]]) -> int:
    """Length of the longest common prefix: that of the least and the greatest in dictionary order."""
    least, greatest = min(sequences), max(sequences)
    return next((i for i, (a, b) in enumerate(zip(least, greatest, strict=False)) if a != b), len(least))


def _hidden_before(
    decoder: Any, rows: Seq[Sequence], prefix: int, device: torch.device
) -> tuple[Tensor, int]:
    """Hidden states one before each chosen position: those that predict it.

    Rows are padded on the right and attention is causal, so no real token sees padding and no padding mask is needed.
    """
    longest = max(len(row.token_ids) for row in rows) - prefix
    ids_BS = torch.tensor(
        [[*row.token_ids[prefix:], *[0] * (longest + prefix - len(row.token_ids))] for row in rows],
        device=device,
    )
    row_T = _flat([[i] * len(row.positions) for i, row in enumerate(rows)], device, torch.long)
    before_T = _flat([[p - 1 - prefix for p in row.positions] for row in rows], device, torch.long)
    if prefix == 0:
        hidden_BSD = decoder(input_ids=ids_BS, use_cache=False).last_hidden_state
    else:
        cache = DynamicCache()
        decoder(
            input_ids=torch.tensor([rows[0].token_ids[:prefix]], device=device),
            past_key_values=cache,
            use_cache=True,
        )
        layers: list[Any] = cache.layers
        for layer in layers:
            layer.keys = layer.keys.expand(len(rows), -1, -1, -1)
            layer.values = layer.values.expand(len(rows), -1, -1, -1)
        positions_1S = torch.arange(prefix, prefix + longest, device=device)[None]
        hidden_BSD = decoder(
            input_ids=ids_BS, position_ids=positions_1S, past_key_values=cache, use_cache=True
        ).last_hidden_state
    return hidden_BSD[row_T, before_T], ids_BS.numel() + prefix


def _head(head: Any, hidden_TD: Tensor, targets_T: Tensor, temperature_T: Tensor) -> tuple[Tensor, Tensor]:
    logits_TV = head(hidden_TD).float() / temperature_T[:, None]
    logp_TV = torch.log_softmax(logits_TV, dim=-1)
    with torch.no_grad():
        entropy_T = -(logp_TV.exp() * logp_TV).sum(-1)
    return logp_TV.gather(-1, targets_T[:, None])[:, 0], entropy_T


def _recomputed_head(*arguments: Any) -> tuple[Tensor, Tensor]:
    result = checkpoint(_head, *arguments, use_reentrant=False)
    assert isinstance(result, tuple)
    return result


def _flat(nested: Seq[Seq[float]], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor([value for row in nested for value in row], dtype=dtype, device=device)
