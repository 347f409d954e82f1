"""The two forward passes: a block of prompt tokens for some rows, and one decoding step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nightshift_trainer.serve.kv import BLOCK
from nightshift_trainer.serve.network import Network
from nightshift_trainer.serve.row import Row
from nightshift_trainer.serve.shapes import Shapes


@dataclass(frozen=True)
class BlockJob:
    """One block to compute: its token ids (at most BLOCK), behind `past` blocks of the same prompt."""

    token_ids: list[int]
    past: list[Tensor]


def run_blocks(network: Network, shapes: Shapes, jobs: list[BlockJob]) -> tuple[Tensor, list[Tensor]]:
    """The last hidden states [≥ jobs, BLOCK, H] and each job's new block [2, L, K, BLOCK, D]. At most
    PREFILL_ROWS jobs."""
    empty = [BlockJob([], [])] * (shapes.prefill_rows(len(jobs)) - len(jobs))
    ids = [job.token_ids + [0] * (BLOCK - len(job.token_ids)) for job in [*jobs, *empty]]
    starts = [len(job.past) * BLOCK for job in [*jobs, *empty]]
    places = shapes.places(max(starts) + BLOCK)
    cache = network.shape.zeros(len(ids), places)
    for row, job in enumerate(jobs):
        if job.past:
            cache[:, :, row, :, : starts[row]] = torch.cat(job.past, 3)
    places_BT = torch.tensor(starts).unsqueeze(-1) + torch.arange(BLOCK)
    hidden = network.hidden(torch.tensor(ids), places_BT, cache, places)
    blocks = [cache[:, :, row, :, starts[row] : starts[row] + BLOCK].clone() for row in range(len(jobs))]
    return hidden, blocks


class Slots:
    """Rows in decoding, side by side in one cache without gaps: a step costs what the rows in it cost."""

    def __init__(self, network: Network, shapes: Shapes) -> None:
        self.rows: list[Row] = []
        self._network, self._shapes = network, shapes
        self._cache = network.shape.zeros(shapes.slots, shapes.max_places)

    @property
    def full(self) -> bool:
        """Whether no further row fits."""
        return len(self.rows) == self._shapes.slots

    def add(self, row: Row, cached: Tensor) -> None:
        """Seats a row with the keys and values [2, L, K, n, D] of its prompt."""
        self._cache[:, :, len(self.rows), :, : cached.shape[3]] = cached
        self.rows.append(row)

    def remove(self, row: Row) -> None:
        """Frees the row's seat; the last row moves into it."""
        slot, last = self.rows.index(row), self.rows.pop()
        if last is not row:
            used = slice(0, last.length)
            self._cache[:, :, slot, :, used] = self._cache[:, :, len(self.rows), :, used]
            self.rows[slot] = last

    def step(self) -> Tensor:
        """Feeds every row its last token; logits [≥ rows, V] of the next."""
        empty = [0] * (self._shapes.decode_rows(len(self.rows)) - len(self.rows))
        ids = torch.tensor([row.token_ids[-1] for row in self.rows] + empty).unsqueeze(-1)
        at = torch.tensor([row.length - 1 for row in self.rows] + empty).unsqueeze(-1)
        places = self._shapes.places(max(row.length for row in self.rows))
        return self._network.logits(self._network.hidden(ids, at, self._cache, places)[:, 0])
