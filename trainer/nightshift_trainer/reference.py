"""reference.json: what the adapter does to chosen tokens, for the proof that a server really serves it.

A server computes the same logprobs with and without the adapter; the regression of its differences on these has slope
1 when the adapter is active and 0 when it is not. The tokens with the largest effect make that test sharp.
"""

import random
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from typing import Any

import torch

from nightshift_trainer.advantage import merge_calls
from nightshift_trainer.forward import micro_batches, report_memory, token_logprobs
from nightshift_trainer.lora import Policy
from nightshift_trainer.packing import common_prefix
from nightshift_trainer.types import Batch, Sequence

CANDIDATES_PER_PROBE = 4


def build_reference(
    policy: Policy,
    batch: Batch,
    min_tokens: int,
    budget_tokens: int,
    base_digest: str,
    *,
    beat: Callable[[float], None],
) -> dict[str, Any]:
    """Probes over the batch's own conversations, at temperature 1: `positions` index `prompt_token_ids`, and each
    logprob is that token's given those before it. `min_tokens` positions; a batch with fewer distinct ones is filled
    up with shuffled copies of its conversations: a night with little signal must not leave an adapter unprovable.
    `beat` runs before every micro-batch and gets the share of the work that is done. Raises OutOfMemoryError when
    `budget_tokens` at once do not fit."""
    rows = _candidates(batch, min_tokens * CANDIDATES_PER_PROBE)
    rows.extend(_shuffled(rows, min_tokens - sum(len(row.positions) for row in rows)))
    with policy.without_dropout():
        adapter = _logprobs(policy, rows, budget_tokens, lambda done: beat(done / 2))
    with policy.base():
        base = _logprobs(policy, rows, budget_tokens, lambda done: beat(0.5 + done / 2))
    effects = [
        (-abs(a - b), row, i)
        for row, (xs, ys) in enumerate(zip(adapter, base, strict=True))
        for i, (a, b) in enumerate(zip(xs, ys, strict=True))
    ]
    chosen: dict[int, list[int]] = {}
    for _, row, i in sorted(effects)[:min_tokens]:
        chosen.setdefault(row, []).append(i)
    probes = []
    for row, indices in sorted(chosen.items()):
        indices.sort()
        positions = [rows[row].positions[i] for i in indices]
        probes.append(
            {
                "prompt_token_ids": list(rows[row].token_ids[: positions[-1] + 1]),
                "positions": positions,
                "adapter_logprobs": [adapter[row][i] for i in indices],
                "base_logprobs": [base[row][i] for i in indices],
            }
        )
    return {"version": 1, "base_model_digest": base_digest, "probes": probes}


def _candidates(batch: Batch, wanted: int) -> list[Sequence]:
    """Sequences, each with the positions that no earlier one has after the same prefix, until `wanted` are together."""
    rows: list[Sequence] = []
    for token_ids in _token_sequences(batch):
        known = max((common_prefix(token_ids, row.token_ids, 0) for row in rows), default=1)
        positions = tuple(range(max(known, 1), len(token_ids)))
        if positions:
            rows.append(_row(token_ids, positions))
        if sum(len(row.positions) for row in rows) >= wanted:
            break
    return rows


def _shuffled(rows: Seq[Sequence], missing: int) -> list[Sequence]:
    """Copies of `rows` with their tokens in another order, always the same, until `missing` positions are together."""
    copies: list[Sequence] = []
    while rows and missing > 0:
        token_ids = list(rows[len(copies) % len(rows)].token_ids)
        random.Random(len(copies)).shuffle(token_ids)
        copies.append(_row(tuple(token_ids), tuple(range(1, len(token_ids)))))
        missing -= len(token_ids) - 1
    return copies


def _row(token_ids: tuple[int, ...], positions: tuple[int, ...]) -> Sequence:
    return Sequence(token_ids, positions, (), (1.0,) * len(positions))


def _token_sequences(batch: Batch) -> Iterator[tuple[int, ...]]:
    """One member of every group, then the next of every group: the widest variety first."""
    for rank in range(max((len(g.members) for g in batch.groups), default=0)):
        for group in batch.groups:
            if rank < len(group.members):
                yield from (sequence.token_ids for sequence in merge_calls(group.members[rank].calls))


@torch.no_grad()
def _logprobs(
    policy: Policy, rows: Seq[Sequence], budget_tokens: int, beat: Callable[[float], None]
) -> list[list[float]]:
    result: list[list[float]] = [[]] * len(rows)
    done = 0
    for indices in micro_batches(policy.model, rows, budget_tokens):
        beat(done / len(rows))
        done += len(indices)
        batch = [rows[i] for i in indices]
        with report_memory(policy.model, batch):
            logp = token_logprobs(policy.model, batch).logp_T.tolist()
        for index in indices:
            count = len(rows[index].positions)
            result[index], logp = logp[:count], logp[count:]
    return result
