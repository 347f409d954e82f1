"""The two forward passes, each of a fixed shape: a block of prompt tokens, and one decoding step.

A pass always has the same number of rows, filled up with empty ones: on one machine a row's bytes depend
on the shape of the batch, never on what the other rows hold. So the shape may depend only on the row itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nightshift_trainer.serve.attention import SlotPass, causal_mask
from nightshift_trainer.serve.kv import BLOCK, CacheShape, bucket
from nightshift_trainer.serve.model import Weights

PREFILL_ROWS = 8


@dataclass(frozen=True)
class BlockJob:
    """One block to compute: its token ids (at most BLOCK), behind `past` blocks of the same suffix."""

    token_ids: list[int]
    past: list[Tensor]


def suffix_places(block_index: int) -> int:
    """The suffix length that a prompt block is computed at."""
    return bucket((block_index + 1) * BLOCK)


def run_blocks(
    weights: Weights, shape: CacheShape, prefix: Tensor | None, jobs: list[BlockJob], places: int
) -> tuple[Tensor, list[Tensor]]:
    """Logits [PREFILL_ROWS, BLOCK, V] and each job's new block [2, L, K, BLOCK, D]. At most PREFILL_ROWS
    jobs."""
    cache = shape.zeros(PREFILL_ROWS, places)
    token_ids = torch.zeros(PREFILL_ROWS, BLOCK, dtype=torch.long)
    starts = torch.zeros(PREFILL_ROWS, 1, dtype=torch.long)
    for row, job in enumerate(jobs):
        token_ids[row, : len(job.token_ids)] = torch.tensor(job.token_ids)
        starts[row] = len(job.past) * BLOCK
        for index, block in enumerate(job.past):
            cache[:, :, row, :, index * BLOCK : (index + 1) * BLOCK] = block
    logits = _forward(weights, cache, prefix, token_ids, starts + torch.arange(BLOCK))
    blocks = [
        cache[:, :, row, :, len(job.past) * BLOCK : (len(job.past) + 1) * BLOCK].clone()
        for row, job in enumerate(jobs)
    ]
    return logits, blocks


class Slots:
    """A fixed batch of rows in decoding: one cache, one suffix length, one prefix. Free slots are computed
    and ignored."""

    def __init__(
        self, shape: CacheShape, weights: Weights, prefix: Tensor | None, count: int, places: int
    ) -> None:
        self.places = places
        self._weights, self._prefix = weights, prefix
        self._cache = shape.zeros(count, places)

    def write(self, slot: int, cached: Tensor) -> None:
        """Fills a slot with keys and values [2, L, K, n, D]."""
        self._cache[:, :, slot, :, : cached.shape[3]] = cached

    def read(self, slot: int, length: int) -> Tensor:
        """A copy of a slot's first `length` places."""
        return self._cache[:, :, slot, :, :length].clone()

    def step(self, token_ids_B: list[int], places_B: list[int]) -> Tensor:
        """Feeds one token per slot at its place; logits [B, V]. A free slot is fed anything at place 0."""
        places_B1 = torch.tensor(places_B).unsqueeze(-1)
        logits = _forward(
            self._weights, self._cache, self._prefix, torch.tensor(token_ids_B).unsqueeze(-1), places_B1
        )
        return logits[:, 0]


def _forward(
    weights: Weights, cache: Tensor, prefix: Tensor | None, token_ids_BT: Tensor, places_BT: Tensor
) -> Tensor:
    slots = SlotPass(
        keys=cache[0],
        values=cache[1],
        prefix_keys=None if prefix is None else prefix[0],
        prefix_values=None if prefix is None else prefix[1],
        rows=torch.arange(token_ids_BT.shape[0]).unsqueeze(-1),
        places=places_BT,
        mask=causal_mask(places_BT, cache.shape[4]),
    )
    offset = 0 if prefix is None else prefix.shape[3]
    return weights.model(
        input_ids=token_ids_BT, position_ids=places_BT + offset, use_cache=False, slots=slots
    ).logits
