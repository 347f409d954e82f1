"""The two forward passes, each of a fixed shape: a block of prompt tokens, and one decoding step.

A pass always has the same number of rows, filled up with empty ones: on one machine a row's bytes depend
on the shape of the batch, never on what the other rows hold. So the shape may depend only on the row itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nightshift_trainer.serve.kv import BLOCK, bucket
from nightshift_trainer.serve.network import Network

PREFILL_ROWS = 8


@dataclass(frozen=True)
class BlockJob:
    """One block to compute: its token ids (at most BLOCK), behind `past` blocks of the same prompt."""

    token_ids: list[int]
    past: list[Tensor]


def block_places(block_index: int) -> int:
    """The cache length that a prompt block is computed at."""
    return bucket((block_index + 1) * BLOCK)


def run_blocks(network: Network, jobs: list[BlockJob], places: int) -> tuple[Tensor, list[Tensor]]:
    """The last hidden states [PREFILL_ROWS, BLOCK, H] and each job's new block [2, L, K, BLOCK, D]. At most
    PREFILL_ROWS jobs."""
    cache = network.shape.zeros(PREFILL_ROWS, places)
    ids = [job.token_ids + [0] * (BLOCK - len(job.token_ids)) for job in jobs]
    ids += [[0] * BLOCK] * (PREFILL_ROWS - len(jobs))
    starts = [len(job.past) * BLOCK for job in jobs] + [0] * (PREFILL_ROWS - len(jobs))
    for row, job in enumerate(jobs):
        if job.past:
            cache[:, :, row, :, : starts[row]] = torch.cat(job.past, 3)
    hidden = network.hidden(
        torch.tensor(ids), torch.tensor(starts).unsqueeze(-1) + torch.arange(BLOCK), cache
    )
    blocks = [cache[:, :, row, :, starts[row] : starts[row] + BLOCK].clone() for row in range(len(jobs))]
    return hidden, blocks


class Slots:
    """A fixed batch of rows in decoding: one cache of one length. Free slots are computed and ignored."""

    def __init__(self, network: Network, count: int, places: int) -> None:
        self.places = places
        self._network = network
        self._cache = network.shape.zeros(count, places)

    def write(self, slot: int, cached: Tensor) -> None:
        """Fills a slot with keys and values [2, L, K, n, D]."""
        self._cache[:, :, slot, :, : cached.shape[3]] = cached

    def read(self, slot: int, length: int) -> Tensor:
        """A copy of a slot's first `length` places."""
        return self._cache[:, :, slot, :, :length].clone()

    def step(self, token_ids_B: list[int], places_B: list[int]) -> Tensor:
        """Feeds one token per slot at its place; logits [B, V]. A free slot is fed anything at place 0."""
        ids, places = torch.tensor(token_ids_B).unsqueeze(-1), torch.tensor(places_B).unsqueeze(-1)
        return self._network.logits(self._network.hidden(ids, places, self._cache)[:, 0])
