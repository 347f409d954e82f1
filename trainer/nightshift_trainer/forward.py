"""Logprobs of chosen tokens, with as little arithmetic as plain transformers allows.

Rows of a micro-batch that begin alike run what they share once, as a packed tree (`packing.py`), where the model's
attention can be told to (`pack_rows`); elsewhere they run padded, row by row. The numbers are the same, to rounding.
The vocabulary is only touched at the chosen positions, in chunks.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nightshift_trainer import tree_attention
from nightshift_trainer.errors import OutOfMemoryError
from nightshift_trainer.packing import build_tree, pack
from nightshift_trainer.tree_attention import TreeLayout
from nightshift_trainer.types import Sequence

HEAD_CHUNK_ELEMENTS = 2**26
"""Logits that exist at once: positions times vocabulary (256 MiB in fp32)."""


@dataclass(frozen=True, slots=True)
class Forward:
    """`logp_T` and `entropy_T` (no gradient) run over the rows' positions, row by row."""

    logp_T: Tensor
    entropy_T: Tensor
    physical_tokens: int
    """Tokens that went through the model, padding included."""


def micro_batches(model: Any, sequences: Seq[Sequence], budget_tokens: int) -> list[list[int]]:
    """Indices of `sequences` in batches of at most `budget_tokens` physical tokens each (a longer row is alone).

    Pass one group's sequences, so that rows of a batch share what they can.
    """
    if packs(model):
        return pack([_needed(row) for row in sequences], budget_tokens)
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(sequences)), key=lambda i: (-len(_needed(sequences[i])), i)):
        if not batches or (len(batches[-1]) + 1) * longest > budget_tokens:
            batches.append([])
            longest = len(_needed(sequences[index]))
        batches[-1].append(index)
    return batches


def token_logprobs(model: Any, rows: Seq[Sequence]) -> Forward:
    """log π(token | its prefix) of every chosen position of every row, in fp32, at the row's temperatures.

    `model` is a transformers causal language model, bare or with LoRA layers; the caller chooses grad and adapter.
    """
    device = model.device
    run = _hidden_packed if packs(model) else _hidden_padded
    hidden_TD, physical = run(model.get_decoder(), rows, device)
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


def physical_tokens(model: Any, rows: Seq[Sequence]) -> int:
    """Tokens that go through the model when these rows run together, padding included."""
    needed = [_needed(row) for row in rows]
    return build_tree(needed).tokens if packs(model) else len(needed) * max(map(len, needed))


@contextmanager
def report_memory(model: Any, rows: Seq[Sequence]) -> Iterator[None]:
    """Raises OutOfMemoryError, which says how much was asked for, where these rows do not fit into memory."""
    try:
        yield
    except RuntimeError as error:  # the CPU's allocator has no class of its own
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise OutOfMemoryError(len(rows), physical_tokens(model, rows), error) from error


def packs(model: Any) -> bool:
    """Whether this model's rows run as a packed tree: `attention_gate.pack_rows` has found that they can."""
    return model.config._attn_implementation == tree_attention.NAME


def _needed(row: Sequence) -> tuple[int, ...]:
    """Nothing is predicted from the last chosen token or what follows it."""
    return row.token_ids[: row.positions[-1]]


def _hidden_packed(decoder: Any, rows: Seq[Sequence], device: torch.device) -> tuple[Tensor, int]:
    """Hidden states one before each chosen position, those that predict it. A branch's first token is predicted by the
    last token that it shares, so that one's state is taken once for every branch."""
    tree = build_tree([_needed(row) for row in rows])
    layout = TreeLayout(tree, device)
    hidden_1SD = decoder(
        input_ids=layout.ids_1S, position_ids=layout.positions_1S, use_cache=False, tree=layout
    ).last_hidden_state
    index_T = [at[p - 1] for i, row in enumerate(rows) for at in [tree.layout_of(i)] for p in row.positions]
    return hidden_1SD[0, torch.tensor(index_T, device=device)], tree.tokens


def _hidden_padded(decoder: Any, rows: Seq[Sequence], device: torch.device) -> tuple[Tensor, int]:
    """The same without sharing. Rows are padded on the right and attention is causal, so no real token sees padding."""
    needed = [_needed(row) for row in rows]
    longest = max(len(ids) for ids in needed)
    ids_BS = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in needed], device=device)
    row_T = _flat([[i] * len(row.positions) for i, row in enumerate(rows)], device, torch.long)
    before_T = _flat([[p - 1 for p in row.positions] for row in rows], device, torch.long)
    hidden_BSD = decoder(input_ids=ids_BS, use_cache=False).last_hidden_state
    return hidden_BSD[row_T, before_T], ids_BS.numel()


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
